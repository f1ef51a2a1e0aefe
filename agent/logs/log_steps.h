#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/core/event.h"
#include "agent/logs/log_follower.h"
#include "base/clock.h"
#include "base/ids.h"

namespace steadyrun::agent {

// The route without a change of code: follows a rank's stdout and turns its
// iteration lines into StepsRead. Megatron prints on the last rank only, so the
// other ranks of the run stay silent, which is no fault. What it says of the
// rank's progress goes to RecorderSet::SetLogStep.
class LogStepReader {
 public:
  // INVALID_ARGUMENT formats are refused by IsKnownLogFormat first.
  // Reads on where an earlier reader committed its position, in
  // <path>.cursor.
  LogStepReader(RunId run, AttemptId attempt, Rank rank, std::string path,
                LogFollowerOptions options = {});

  std::vector<Event> Poll(Now now);
  // After the rank has ended: with its last, unfinished line.
  std::vector<Event> Drain(Now now);

  // As RecorderSet::CommitCursors.
  void CommitCursor();

  Step last_step() const { return last_step_; }  // kNoStep: none yet.
  // Not read because the log came faster than the budget.
  std::uint64_t skipped_bytes() const { return follower_.skipped_bytes(); }

 private:
  std::vector<Event> Read(const std::vector<LogLine>& lines, Now now);

  RunId run_;
  AttemptId attempt_;
  Rank rank_;
  std::string cursor_path_;
  LogPosition committed_;
  LogFollower follower_;
  Step last_step_ = kNoStep;
};

// "" (none) and "megatron".
bool IsKnownLogFormat(std::string_view format);

}  // namespace steadyrun::agent
