#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "server/model/finding.h"

namespace steadyrun {

enum class IncidentState {
  kOpen,
  kRecovered,  // The run makes new steps again, or the condition went away.
  kClosed,     // Ended otherwise: run stopped or halted for good.
};
std::string_view IncidentStateName(IncidentState state);

struct TimelineEntry {
  WallTime at;
  std::string text;
  friend bool operator==(const TimelineEntry&, const TimelineEntry&) = default;
};

// The story of one fault of a run, grouped from findings. Stored whole.
struct Incident {
  std::int64_t number = 0;  // Counts up within the run, from 1.
  RunId run;
  IncidentKind kind = IncidentKind::kCrash;
  Severity severity = Severity::kCritical;
  IncidentState state = IncidentState::kOpen;
  AttemptId attempt;
  Culprit culprit;
  Step step = kNoStep;
  // Of training kinds; see Finding.
  std::string detector;
  Step onset_step = kNoStep;
  Advice advice = Advice::kReport;
  RollbackPlan rollback;
  WallTime onset;
  WallTime detected;
  WallTime recovered;         // Epoch start: not yet.
  Duration detection_time{};  // Onset to detected, on the server's clock.
  Duration recovery_time{};   // Onset to the first new step.
  std::int64_t steps_lost = 0;
  std::string remediation = "none";
  std::string reason;
  std::string signature;
  std::vector<std::string> evidence;    // At most kMaxEvidence lines.
  std::vector<TimelineEntry> timeline;  // At most kMaxTimeline entries.

  std::string Id() const { return run + ":" + std::to_string(number); }
  friend bool operator==(const Incident&, const Incident&) = default;
};
inline constexpr std::size_t kMaxEvidence = 64;
inline constexpr std::size_t kMaxTimeline = 200;

}  // namespace steadyrun
