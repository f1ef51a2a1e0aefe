#include "server/detect/speed/save_speed_detector.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "base/robust_stats.h"

namespace steadyrun {
namespace {

constexpr std::size_t kFewest = 3;
constexpr std::size_t kInARow = 2;

}  // namespace

void SaveSpeedDetector::Begin() {
  kept_ = slow_count_ = 0;
  is_first_ = true;
  is_told_ = false;
}

double SaveSpeedDetector::Usual() const {
  return Median({usual_.begin(), usual_.begin() + static_cast<std::ptrdiff_t>(
                                                      std::min(kept_, kKept))});
}

void SaveSpeedDetector::Keep(double seconds) {
  usual_[kept_++ % kKept] = seconds;
}

void SaveSpeedDetector::Clear(const char* why, const WatchedWorld& world,
                              Verdicts* verdicts) {
  if (!std::exchange(is_told_, false)) return;
  Clearance clearance;
  clearance.kind = IncidentKind::kCheckpointSlow;
  clearance.run = world.attempt.run;
  clearance.reason = why;
  verdicts->cleared.push_back(std::move(clearance));
}

void SaveSpeedDetector::Observe(Step step, double seconds,
                                const WatchedWorld& world, Now now,
                                Verdicts* verdicts) {
  if (!std::isfinite(seconds) || seconds <= 0) return;
  if (std::exchange(is_first_, false)) return;
  const double usual = Usual();
  const bool is_slow = kept_ >= kFewest && seconds > options_.factor * usual &&
                       seconds > usual + options_.minimum_seconds;
  if (!is_slow) {
    slow_count_ = 0;
    Keep(seconds);
    Clear("the last save took as long as usual", world, verdicts);
    return;
  }
  if (slow_count_ == 0) onset_ = step;
  slow_[slow_count_++] = seconds;
  if (slow_count_ == kKept) {
    for (const double value : slow_) Keep(value);
    slow_count_ = 0;
    Clear("saves have taken so long for 16 times: it is the usual now", world,
          verdicts);
    return;
  }
  if (slow_count_ < kInARow || is_told_) return;
  is_told_ = true;
  Finding finding =
      MakeFinding(IncidentKind::kCheckpointSlow, world.attempt, now);
  finding.detector = "checkpoint_slow";
  finding.severity = Severity::kWarning;
  finding.step = step;
  finding.onset_step = onset_;
  finding.signature = "checkpoint_slow";
  finding.reason = fmt::format(
      "Saving took {} at step {}, {:.1f} times as long as usual ({}).",
      HumanSeconds(FromSeconds(seconds)), step.value, seconds / usual,
      HumanSeconds(FromSeconds(usual)));
  finding.evidence.push_back(
      fmt::format("the save before it took {}; usual is the median of {} saves",
                  HumanSeconds(FromSeconds(slow_[slow_count_ - 2])),
                  std::min(kept_, kKept)));
  verdicts->findings.push_back(std::move(finding));
}

}  // namespace steadyrun
