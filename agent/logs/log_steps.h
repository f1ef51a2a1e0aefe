#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/core/event.h"
#include "agent/logs/log_follower.h"
#include "base/clock.h"
#include "base/ids.h"

namespace steadyrun::agent {

// The route without a change of code: follows a rank's stdout and turns its
// iteration lines into StepsRead and RankObserved. Megatron prints on the last
// rank only, so the other ranks of the run stay silent, which is no fault.
class LogStepReader {
 public:
  // INVALID_ARGUMENT formats are refused by IsKnownLogFormat first.
  LogStepReader(RunId run, AttemptId attempt, Rank rank,
                std::int32_t local_rank, std::string path,
                LogFollowerOptions options = {});

  std::vector<Event> Poll(Now now);
  // After the rank has ended: with its last, unfinished line.
  std::vector<Event> Drain(Now now);

  void SetPid(std::int32_t pid) { state_.pid = pid; }
  std::uint64_t skipped_bytes() const { return follower_.skipped_bytes(); }

 private:
  std::vector<Event> Read(const std::vector<LogLine>& lines, Now now);

  RunId run_;
  LogFollower follower_;
  RankState state_;
  std::int64_t last_tokens_ = -1;
  MonoTime last_progress_{};
  bool has_progress_ = false;
};

// "" (none) and "megatron".
bool IsKnownLogFormat(std::string_view format);

}  // namespace steadyrun::agent
