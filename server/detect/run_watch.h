#pragma once

// All detectors of one run behind one face: what the engine feeds and asks.
//
//   RunWatch watch(policy.detect);
//   watch.Begin(attempt, now);                     // at each Start
//   watch.ObserveNode(state, now);                 // each heartbeat
//   watch.ObserveExit / Finished / Row / Shard...  // each report, first time
//   for (finding : watch.Evaluate(hearing, ...).findings) book.Observe(...)
//   watch.FinalCrash()                             // when all are stopped
//
// Findings of Observe* are kept until the next Take() or Evaluate(), so an
// engine may feed a whole message first and ask once. One thread; pure.

#include <map>
#include <optional>

#include "base/clock.h"
#include "proto/messages/messages.h"
#include "server/detect/checkpoint_detector.h"
#include "server/detect/crash_detector.h"
#include "server/detect/hang_detector.h"
#include "server/detect/node_hearing.h"
#include "server/detect/options.h"
#include "server/detect/run_progress.h"
#include "server/detect/silence_detector.h"
#include "server/detect/storage_detector.h"
#include "server/detect/training_watch.h"
#include "server/detect/watched_attempt.h"
#include "server/model/step_row.h"

namespace steadyrun {

// What the engine knows and the detectors do not.
struct RunSituation {
  // The attempt is meant to run (starting or running): hangs, silence and
  // overdue checkpoints are judged. While stopping, only silence is, since a
  // lost node may be the cause of what is being stopped.
  bool is_live = false;
  bool is_stopping = false;
  // The attempt has made its first step.
  bool is_running = false;
  Step step = kNoStep;  // Newest of all ranks.
};

class RunWatch {
 public:
  explicit RunWatch(const DetectOptions& options);

  // A new attempt, or the current one after the service's restart.
  void Begin(const WatchedAttempt& attempt, Now now);
  bool IsWatching(AttemptId attempt) const;
  // After the first Begin() since the service started.
  void Remember(const CurveHistory& history) { training_.Remember(history); }

  // A heartbeat of any node; takes the ranks of the watched attempt.
  void ObserveNode(const NodeState& state, Now now);
  // `age`: as for CrashDetector.
  void ObserveExit(const RankExited& exit, Now now, Duration age = {});
  void ObserveFinished(const RankFinished& finished);
  // A closed row of the watched attempt.
  void ObserveRow(const StepRow& row, Now now);
  void ObserveShard(const CheckpointShard& shard, const NodeId& node, Now now);
  void ObserveShardBad(const CheckpointShardBad& bad, const NodeId& node,
                       Now now);
  // A check of a shard before resuming from (attempt, step), failed or not.
  void ObserveCheck(AttemptId attempt, Step step, const ShardCheck& check,
                    const NodeId& node, Now now);
  // `save_seconds`: of the slowest rank.
  void ObserveCheckpointComplete(AttemptId attempt, Step step,
                                 double save_seconds, Now now);
  // What was said of silence and standstill is said again if it still holds.
  void JudgeAfresh();
  // The service was late, or could not store: see NodeHearing::Reset.
  void Settle(MonoTime now);

  // Judges deadlines and hands out everything since the last call. Each tick.
  Verdicts Evaluate(const NodeHearing& hearing, const RunSituation& situation,
                    Now now);
  // Hands out what the Observe calls found, without judging deadlines.
  Verdicts Take();
  // The attribution that stands, once every node is proved stopped: book all
  // of it, in order. See CrashDetector::Final().
  std::vector<Finding> FinalCrash() const { return crash_.Final(); }

  const RunProgress& Progress() const { return progress_; }
  const CrashDetector& Crash() const { return crash_; }
  const HangDetector& Hang() const { return hang_; }
  SilenceDetector& Silence() { return silence_; }
  const SilenceDetector& Silence() const { return silence_; }
  const CheckpointDetector& Checkpoints() const { return checkpoint_; }

 private:
  struct Agent {
    Incarnation incarnation;
    Now heard;
  };

  void ObserveAgent(const NodeState& state, Now now);
  void Add(std::optional<Finding> finding);

  DetectOptions options_;
  WatchedAttempt attempt_;
  RunProgress progress_;
  CrashDetector crash_;
  HangDetector hang_;
  SilenceDetector silence_;
  TrainingWatch training_;
  CheckpointDetector checkpoint_;
  StorageDetector storage_;
  std::map<NodeId, Agent> agents_;
  Verdicts pending_;
};

}  // namespace steadyrun
