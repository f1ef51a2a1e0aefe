#include "server/detect/speed/generation_detector.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/robust_stats.h"
#include "server/model/row_columns.h"

namespace steadyrun {
namespace {

constexpr std::size_t kUsual = 32;
constexpr std::size_t kFewest = 16;
constexpr int kStallRows = 2;
constexpr int kStragglerRows = 3;
constexpr int kOverRows = 3;
constexpr std::size_t kFewestRanks = 3;

constexpr std::array<std::string_view, 4> kTimes = {
    "rollout_seconds", "timing_s/gen", "timing_s/generate_sequences",
    "timing/rollout"};
constexpr std::string_view kLength = "response_length/mean";
constexpr std::string_view kAgentSlowest =
    "agent_loop/slowest/generate_sequences";
constexpr std::string_view kAgentMean = "agent_loop/generate_sequences/mean";

bool IsPositive(double value) { return value > 0 && std::isfinite(value); }

// Over the ranks that report; 0 when none does.
double MedianOfRanks(std::span<const float> column) {
  std::vector<double> values;
  for (const float value : column) {
    if (IsPositive(value)) values.push_back(value);
  }
  return MedianInPlace(values);
}

}  // namespace

void GenerationDetector::Begin() {
  usual_.clear();
  next_ = 0;
  stall_ = straggler_ = Streak();
  suspect_ = kNoRank;
  last_slow_ = kNoStep;
}

void GenerationDetector::Observe(const StepRow& row, const WatchedWorld& world,
                                 Now now, Verdicts* verdicts) {
  std::span<const float> times;
  std::string_view name;
  for (std::size_t i = 0; i < kTimes.size() && times.empty(); ++i) {
    name = kTimes[i];
    times = RowColumn(row, name);
  }
  const double seconds = MedianOfRanks(times);
  if (seconds > 0) ObserveStall(seconds, name, row, world, now, verdicts);
  const Slowest slowest = FindSlowest(times, row);
  if (slowest.ratio > 0) {
    ObserveStraggler(slowest, row, world, now, verdicts);
  }
  if (stall_.is_told || straggler_.is_told) last_slow_ = row.step;
  if (seconds > 0 || slowest.ratio > 0) ClearIfOver(world, verdicts);
}

// True when the streak became long enough to count its first row as onset.
bool GenerationDetector::Advance(Streak& streak, bool is_bad, Step step) {
  if (!is_bad) {
    streak.bad = 0;
    ++streak.good;
    return false;
  }
  if (streak.bad == 0) streak.onset = step;
  ++streak.bad;
  streak.good = 0;
  return true;
}

void GenerationDetector::ObserveStall(double seconds, std::string_view name,
                                      const StepRow& row,
                                      const WatchedWorld& world, Now now,
                                      Verdicts* verdicts) {
  const double length = MedianOfRanks(RowColumn(row, kLength));
  const double cost = length > 0 ? seconds / length : seconds;
  const double usual = Median(usual_);
  const double ratio = usual_.size() >= kFewest ? cost / usual : 0;
  const bool is_bad = Advance(stall_, ratio > options_.factor, row.step);
  if (!is_bad || stall_.bad > static_cast<int>(kUsual)) {
    if (usual_.size() < kUsual) {
      usual_.push_back(cost);
    } else {
      usual_[next_] = cost;
      next_ = (next_ + 1) % kUsual;
    }
  }
  if (!is_bad || stall_.is_told ||
      (stall_.bad < kStallRows && ratio <= 3 * options_.factor)) {
    return;
  }
  stall_.is_told = true;
  Finding finding =
      MakeFinding(IncidentKind::kGenerationStall, world.attempt, now);
  finding.detector = "generation_stall";
  finding.severity = Severity::kWarning;
  finding.step = row.step;
  finding.onset_step = stall_.onset;
  finding.signature = "generation_stall all";
  finding.reason = fmt::format(
      "Generating the responses of step {} took {}, {:.1f} times as long as "
      "usual{}.",
      row.step.value, HumanSeconds(FromSeconds(seconds)), ratio,
      length > 0 ? " for their length" : "");
  finding.evidence.push_back(
      fmt::format("{} = {:.4g} s; usual is the median of {} rollouts", name,
                  seconds, usual_.size()));
  verdicts->findings.push_back(std::move(finding));
}

GenerationDetector::Slowest GenerationDetector::FindSlowest(
    std::span<const float> times, const StepRow& row) const {
  Slowest slowest;
  std::size_t reported = 0;
  float most = 0;
  for (std::size_t r = 0; r < times.size(); ++r) {
    if (!IsPositive(times[r])) continue;
    ++reported;
    if (times[r] <= most) continue;
    most = times[r];
    slowest.rank = Rank{static_cast<std::int32_t>(r)};
  }
  if (reported >= kFewestRanks) {
    slowest.ratio = most / MedianOfRanks(times);
    return slowest;
  }
  // One rank speaks for all rollout workers.
  const double mean = MedianOfRanks(RowColumn(row, kAgentMean));
  const double longest = MedianOfRanks(RowColumn(row, kAgentSlowest));
  return {mean > 0 ? longest / mean : 0, kNoRank};
}

void GenerationDetector::ObserveStraggler(const Slowest& slowest,
                                          const StepRow& row,
                                          const WatchedWorld& world, Now now,
                                          Verdicts* verdicts) {
  const bool is_first = straggler_.bad == 0;
  if (!Advance(straggler_, slowest.ratio > options_.factor, row.step)) return;
  if (is_first) {
    suspect_ = slowest.rank;
  } else if (suspect_ != slowest.rank) {
    suspect_ = kNoRank;
  }
  if (straggler_.bad < kStragglerRows || straggler_.is_told) return;
  straggler_.is_told = true;
  Finding finding =
      MakeFinding(IncidentKind::kGenerationStall, world.attempt, now);
  finding.detector = "generation_stall";
  finding.severity = Severity::kWarning;
  finding.step = row.step;
  finding.onset_step = straggler_.onset;
  if (suspect_ != kNoRank) {
    finding.culprit = {world.attempt.NodeOf(suspect_), suspect_};
    finding.suspects = {suspect_};
    finding.reason = fmt::format(
        "The rollout of {} takes {:.1f} times that of the median rank since "
        "step {}; the others wait for it.",
        RankOnNode(suspect_, finding.culprit.node), slowest.ratio,
        straggler_.onset.value);
  } else {
    finding.reason = fmt::format(
        "The slowest rollout takes {:.1f} times the usual one of its step "
        "since step {}; it is not always the same rank, or none is named.",
        slowest.ratio, straggler_.onset.value);
  }
  finding.signature = fmt::format("generation_stall rank {}", suspect_.value);
  verdicts->findings.push_back(std::move(finding));
}

void GenerationDetector::ClearIfOver(const WatchedWorld& world,
                                     Verdicts* verdicts) {
  if (!stall_.is_told && !straggler_.is_told) return;
  if (stall_.good >= kOverRows) stall_.is_told = false;
  if (straggler_.good >= kOverRows) straggler_.is_told = false;
  if (stall_.is_told || straggler_.is_told) return;
  Clearance clearance;
  clearance.kind = IncidentKind::kGenerationStall;
  clearance.run = world.attempt.run;
  clearance.reason = "rollouts take as long as usual again";
  verdicts->cleared.push_back(std::move(clearance));
}

}  // namespace steadyrun
