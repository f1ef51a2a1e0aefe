#pragma once

// A simulated training job in time: ranks that make their steps together,
// save, evaluate, and are struck by the faults of a plan. What real ranks and
// their nodes would show is told as happenings, and as the state that an agent
// puts into its heartbeats.
//
//   Job job(options);
//   job.Begin(attempt, rank_nodes, resume, now);
//   while (...) { job.Advance(job.NextAt(), &happenings); ... }
//
// Both ways to run a fleet use it: in process, on simulated time, and over
// the real protocol, on the clock of the wall. Pure; one thread.

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "fleet/sim/fault.h"
#include "fleet/sim/profile.h"
#include "fleet/sim/row_maker.h"
#include "proto/messages/messages.h"
#include "server/model/step_row.h"

namespace steadyrun::fleet {

struct JobOptions {
  RunId run;
  FleetProfile profile;
  std::int32_t ranks = 128;
  std::int64_t steps = 1000;  // Of the whole run, from 1.
  std::uint64_t seed = 0;
  std::vector<Fault> faults;
  std::string checkpoint_directory = "/simulated";
};

// Nothing is heard of the node from now on.
struct WentSilent {
  bool is_agent_only = false;  // Its ranks go on.
  Duration for_time{};         // Zero: for good.
};

struct Happening {
  MonoTime at;
  std::int32_t node = -1;  // Index within the attempt; -1: all of them.
  std::variant<StepRow, RankExited, CheckpointShard, RankFinished, WentSilent>
      what;
};

class Job {
 public:
  explicit Job(JobOptions options);

  // A new attempt of all ranks, which are up at `now`; what was before is
  // gone. `resume`: step of the checkpoint, kNoStep for none.
  void Begin(AttemptId attempt, std::vector<NodeId> rank_nodes, Step resume,
             Now now);
  // All ranks are gone; no further happening of this attempt.
  void End();

  // When something happens next by itself; MonoTime::max() if nothing will.
  MonoTime NextAt() const;
  // Appends what happens up to and including `now`, in order.
  void Advance(MonoTime now, std::vector<Happening>* out);

  // Kills what lives on a node of the attempt and tells how it ended.
  std::vector<RankExited> KillNode(std::int32_t node, MonoTime now);
  // All ranks save at the end of `step`. False: passed already.
  bool OrderSave(Step step, bool then_stop);

  // What a node's agent sees of a rank now.
  RankState StateOf(std::int32_t rank, MonoTime now) const;
  // Nothing can be heard of the node now.
  bool IsSilent(std::int32_t node, MonoTime now) const;
  // Standing, dying or silent: the next moments should be watched closely.
  bool IsDisturbed(MonoTime now) const;

  AttemptId Attempt() const { return attempt_; }
  Step LastStep() const { return step_; }  // Completed, or resumed from.
  // Newest step that all ranks have saved in any attempt; kNoStep: none.
  Step LastSaved() const { return saved_; }
  bool IsFinished() const { return is_finished_; }
  std::int32_t Nodes() const;
  std::int32_t NodeOf(std::int32_t rank) const;
  // First rank of a node, and one past its last.
  std::pair<std::int32_t, std::int32_t> RanksOf(std::int32_t node) const;
  const JobOptions& Options() const { return options_; }
  // With what has struck so far.
  const std::vector<Fault>& Faults() const { return options_.faults; }

 private:
  using Todo = std::function<void(MonoTime, std::vector<Happening>*)>;
  struct RankEnd {
    MonoTime at;
    ExitStatus exit;
    bool by_agent = false;
  };
  enum class HangMark { kNone, kStopped, kPhase, kData, kCpu, kDark };

  void Later(MonoTime at, Todo todo) { todos_.emplace(at, std::move(todo)); }
  void BeginStep(MonoTime now);
  void CompleteStep(MonoTime now, std::vector<Happening>* out);
  void Save(double seconds, bool then_stop, MonoTime now);
  void Finish(MonoTime now, std::vector<Happening>* out);
  bool IsInEffect(const Fault& fault, Step step) const;
  void Note(Fault& fault, MonoTime now);

  // job_faults.cc
  void Strike(Fault& fault, MonoTime now, std::vector<Happening>* out);
  void StrikeCrash(Fault& fault, MonoTime now);
  void StrikeLink(Fault& fault, MonoTime now);
  void StrikeHang(Fault& fault);
  void StrikeNodeLost(Fault& fault, MonoTime now, std::vector<Happening>* out);
  void StrikeAgentLost(Fault& fault, MonoTime now, std::vector<Happening>* out);
  void KillPeers(std::int32_t first, std::int32_t count, MonoTime now,
                 double wait);
  void EndRank(std::int32_t rank, RankExited exit, MonoTime at);
  double SkewOf(const NodeId& node) const;
  WallTime WallAt(MonoTime at) const;
  // As the ranks know it: none before the first of the attempt.
  Step ShownStep() const { return made_ == 0 ? kNoStep : step_; }

  JobOptions options_;
  RowMaker maker_;
  AttemptId attempt_;
  std::vector<NodeId> rank_nodes_;
  Now begun_;
  Step step_ = kNoStep;
  Step saved_ = kNoStep;
  bool is_finished_ = false;

  std::multimap<MonoTime, Todo> todos_;
  bool has_moment_ = false;  // A fault strikes within the step under way.
  bool is_blocked_ = false;  // The step under way will not be completed.
  std::int64_t made_ = 0;    // Steps of this attempt.
  StepRow row_;              // Of the step under way.
  MonoTime step_begin_;      // After the pause.
  double step_seconds_ = 1;  // Without the pause.
  Phase pause_phase_ = Phase::kUnspecified;
  double pause_seconds_ = 0;
  MonoTime pause_begin_;
  std::map<Step, bool> orders_;  // Saves; true: then stop.
  std::map<std::int32_t, RankEnd> ends_;
  struct Silence {
    MonoTime from;
    MonoTime until;
  };
  std::map<std::int32_t, Silence> silent_;  // By node.
  HangMark hang_ = HangMark::kNone;
  std::int32_t hung_rank_ = -1;
  MonoTime hung_at_;
};

}  // namespace steadyrun::fleet
