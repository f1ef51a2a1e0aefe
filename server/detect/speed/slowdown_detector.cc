#include "server/detect/speed/slowdown_detector.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "server/model/row_columns.h"

namespace steadyrun {
namespace {

// A found fault that accounts for this much of a change is its cause.
constexpr double kMostOfIt = 2.0 / 3;
// A level that moved by less has not moved.
constexpr double kSame = 0.05;

constexpr std::string_view kLength = "response_length/mean";

// Usually one rank reports it; 0 when none does.
double LongestReported(std::span<const float> column) {
  float longest = 0;
  for (const float value : column) {
    if (std::isfinite(value)) longest = std::max(longest, value);
  }
  return longest;
}

}  // namespace

void SlowdownDetector::Begin(const WatchedWorld& world) {
  time_.Reset();
  rate_.Reset();
  lengths_.Reset();
  stages_.assign(world.Size() > 0 ? world.places.Stages() : 0, BlockSeries());
  usual_time_.reset();
  usual_rate_.reset();
  held_.reset();
}

bool SlowdownDetector::IsExplained(const LevelWatch::Change& change,
                                   const Known& known) const {
  if (known.is_data_stall) return true;
  // Also when it is over: a change is seen some blocks after its onset.
  if (known.last_slow_rollout >= change.onset) return true;
  const double excess = change.after / change.before - 1;
  if (known.straggler_cost >= kMostOfIt * excess) return true;
  // More work a step.
  const std::optional<double> rate = rate_.Blocks().RatioSince(change.onset);
  if (rate.has_value() && *rate > 1 - kSame) return true;
  const std::optional<double> length = lengths_.RatioSince(change.onset);
  return length.has_value() && (1 + excess) / *length < 1 + options_.minimum;
}

void SlowdownDetector::Observe(const StepRow& row, const Known& known,
                               const WatchedWorld& world, Now now,
                               Verdicts* verdicts) {
  for (std::size_t i = 0; i < stages_.size() && i < known.stage_seconds.size();
       ++i) {
    stages_[i].Add(row.step, known.stage_seconds[i]);
  }
  // The rate first: whether a longer step does more work is asked of it.
  std::optional<LevelWatch::Change> rate;
  // Tokens are summed over the ranks that reported: of a node that cannot be
  // heard they are only late.
  if (row.is_complete && row.step_seconds > 0 && row.tokens > 0) {
    rate = rate_.Add(row.step, row.tokens / row.step_seconds);
  }
  lengths_.Add(row.step, LongestReported(RowColumn(row, kLength)));
  const auto time = time_.Add(row.step, row.step_seconds);
  if (time.has_value() && time->after > time->before &&
      !IsExplained(*time, known)) {
    Hold(*time, /*is_time=*/true, row);
  }
  if (rate.has_value() && rate->after < rate->before) {
    const auto longer = time_.Blocks().RatioSince(rate->onset);
    if (longer.has_value() && *longer < 1 + kSame) {
      Hold(*rate, /*is_time=*/false, row);
    }
  }
  TellIfLasting(row, known, world, now, verdicts);
  ClearIfOver(world, verdicts);
}

void SlowdownDetector::Hold(const LevelWatch::Change& change, bool is_time,
                            const StepRow& row) {
  const auto steps = static_cast<double>(row.step.value - change.onset.value);
  held_ = Held{change, is_time, steps * row.step_seconds};
}

void SlowdownDetector::TellIfLasting(const StepRow& row, const Known& known,
                                     const WatchedWorld& world, Now now,
                                     Verdicts* verdicts) {
  if (!held_.has_value()) return;
  LevelWatch::Change& change = held_->change;
  held_->seconds += std::max(0.0, row.step_seconds);
  const BlockSeries& blocks = held_->is_time ? time_.Blocks() : rate_.Blocks();
  // Of a long time ago only the level of before is known.
  const double ratio =
      blocks.RatioSince(change.onset).value_or(blocks.Level() / change.before);
  // The level now as well: what has come back since does not last.
  const double level = blocks.Level() / change.before;
  const bool is_over =
      held_->is_time
          ? ratio <= 1 + options_.minimum || level <= 1 + options_.minimum / 2
          : ratio >= 1 - options_.minimum || level >= 1 - options_.minimum / 2;
  // What explains it may have been found since.
  if (is_over || (held_->is_time && IsExplained(change, known))) {
    held_.reset();
    return;
  }
  if (held_->seconds < options_.lasting_seconds) return;
  std::optional<double>& usual = held_->is_time ? usual_time_ : usual_rate_;
  if (!usual.has_value()) usual = change.before;
  verdicts->findings.push_back(
      Describe(change, held_->is_time, row, world, now));
  held_.reset();
}

void SlowdownDetector::ClearIfOver(const WatchedWorld& world,
                                   Verdicts* verdicts) {
  if (!usual_time_.has_value() && !usual_rate_.has_value()) return;
  const double near = options_.minimum / 2;
  if (usual_time_.has_value() &&
      time_.Blocks().Level() <= *usual_time_ * (1 + near)) {
    usual_time_.reset();
  }
  if (usual_rate_.has_value() &&
      rate_.Blocks().Level() >= *usual_rate_ * (1 - near)) {
    usual_rate_.reset();
  }
  if (usual_time_.has_value() || usual_rate_.has_value()) return;
  Clearance clearance;
  clearance.kind = IncidentKind::kSlowdown;
  clearance.run = world.attempt.run;
  clearance.reason = "the run is as fast as before again";
  verdicts->cleared.push_back(std::move(clearance));
}

std::string SlowdownDetector::WhereItIs(Step onset) const {
  std::string slower;
  bool is_known = false;
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    const std::optional<double> ratio = stages_[i].RatioSince(onset);
    if (!ratio.has_value()) continue;
    is_known = true;
    if (*ratio < 1 + kSame) continue;
    slower += fmt::format("{}stage {} {:.2f} times", slower.empty() ? "" : ", ",
                          i, *ratio);
  }
  if (!is_known) {
    return "no compute_seconds are reported, so whether devices or "
           "communication became slower is unknown";
  }
  if (slower.empty()) {
    return "compute time did not change: communication, input or waiting did";
  }
  return "compute time since the onset: " + slower;
}

Finding SlowdownDetector::Describe(const LevelWatch::Change& change,
                                   bool is_time, const StepRow& row,
                                   const WatchedWorld& world, Now now) const {
  Finding finding = MakeFinding(IncidentKind::kSlowdown, world.attempt, now);
  finding.detector = "slowdown";
  finding.severity = Severity::kWarning;
  finding.step = row.step;
  finding.onset_step = change.onset;
  finding.advice = Advice::kReport;
  const double ratio = change.after / change.before;
  if (is_time) {
    finding.reason = fmt::format(
        "A step takes {:.0f} % longer since step {}: {} instead of {}.",
        100 * (ratio - 1), change.onset.value,
        HumanSeconds(FromSeconds(change.after)),
        HumanSeconds(FromSeconds(change.before)));
    finding.signature = "slowdown step_time";
  } else {
    finding.reason = fmt::format(
        "The run does {:.0f} % fewer tokens a second since step {} though a "
        "step takes as long as before: {:.4g} instead of {:.4g}.",
        100 * (1 - ratio), change.onset.value, change.after, change.before);
    finding.signature = "slowdown throughput";
  }
  const double slow = is_time ? ratio : 1 / ratio;
  finding.evidence = {
      fmt::format("what if: {:.3f} times the time of before (waste {:.1f} %)",
                  slow, 100 * (1 - 1 / slow)),
      WhereItIs(change.onset)};
  return finding;
}

}  // namespace steadyrun
