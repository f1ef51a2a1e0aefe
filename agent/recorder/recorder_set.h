#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/collectors/process_stat.h"
#include "agent/core/effect.h"
#include "agent/core/event.h"
#include "agent/recorder/recorder_file.h"
#include "base/clock.h"

namespace steadyrun::agent {

struct RecorderSetOptions {
  // A step block waits this long for the slowest local rank, so that a hung
  // rank does not hold back what the others say.
  Duration join_deadline{std::chrono::milliseconds(250)};
  // At most this often a RankObserved per rank.
  Duration observe_interval{std::chrono::milliseconds(50)};
  // How often /proc is asked for state and CPU time.
  Duration process_interval{std::chrono::milliseconds(500)};
};

struct RecorderReadings {
  // StepsRead, RankObserved, RankSaidFinished; in order.
  std::vector<Event> events;
  // Said to be saved, not yet read back: to be hashed (HashShard).
  std::vector<CheckpointShard> saved;
  std::vector<std::string> log;  // What was dropped, and why.
};

// The flight recorders of all ranks of this node: joins their steps into one
// block per node and step, and writes the save word. Not thread-safe. Each
// Poll reads at most one ring per rank.
class RecorderSet {
 public:
  RecorderSet(RecorderSetOptions options, ProcessTable processes);
  ~RecorderSet();
  RecorderSet(const RecorderSet&) = delete;
  RecorderSet& operator=(const RecorderSet&) = delete;

  // Reads on where the cursor beside the recorder (<path>.cursor) stands.
  absl::Status Add(const std::string& path, const RecorderSpec& spec);
  // The rank's process, once known, for state and CPU time.
  void SetPid(const RunId& run, AttemptId attempt, Rank rank, std::int32_t pid);
  // The rank has ended: everything it still wrote, with nothing held back.
  RecorderReadings Remove(const RunId& run, AttemptId attempt, Rank rank,
                          Now now);

  // What a followed log says of a rank whose code does not use the library.
  void SetLogStep(const RunId& run, AttemptId attempt, Rank rank, Step step,
                  Now now);

  RecorderReadings Poll(Now now);

  // Call when everything that earlier calls returned is durable in the spool:
  // a restarted agent reads on from there. What was read after the last call
  // is read twice after a crash; the server merges equal rows.
  void CommitCursors();
  // The shard's report is in the spool too (hashing takes its time); until
  // then CommitCursors does not pass it.
  void MarkSavedReported(const CheckpointShard& shard);

  // Answers WriteSaveWord. Missed if a rank has reached the step.
  SaveWordWritten WriteSave(const WriteSaveWord& order, Now now);

  std::size_t size() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace steadyrun::agent
