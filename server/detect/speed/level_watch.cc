#include "server/detect/speed/level_watch.h"

#include <algorithm>
#include <cmath>

namespace steadyrun {
namespace {

constexpr double kSure = 0.9;
constexpr std::size_t kRecentBlocks = 5;
constexpr std::uint64_t kFewestAfter = 3;
constexpr std::uint64_t kFewestBefore = 4;
// Of two medians' difference. Some hundred looks a day at five are none by
// chance; the tails of step times are heavy.
constexpr double kFewestErrors = 5;
// With few blocks their scatter is known badly: as many of a t distribution's
// errors are as unlikely, about 5 x (1 + 8 / n) for n blocks.
constexpr double kFewBlocks = 8;

}  // namespace

void LevelWatch::Reset() {
  blocks_.Reset();
  change_.Reset();
  level_from_ = 0;
}

std::optional<LevelWatch::Change> LevelWatch::Add(Step step, double value) {
  if (!blocks_.Add(step, value)) return std::nullopt;
  const std::uint64_t count = blocks_.Count();
  change_.Add(std::log(blocks_.MedianOf(count - 1, 1)));
  if (change_.Recent(kRecentBlocks) <= kSure) return std::nullopt;

  const std::uint64_t after = change_.LikeliestLength();
  if (after < kFewestAfter || after > count) return std::nullopt;
  const std::uint64_t from = count - after;
  if (from < level_from_ + kFewestBefore) return std::nullopt;
  const std::uint64_t before =
      std::min(from - level_from_, BlockSeries::kMostBefore);
  Change change;
  change.before = blocks_.MedianOf(from - before, before);
  change.after = blocks_.MedianOf(from, after);
  change.onset = blocks_.FirstStepOf(from);
  if (std::abs(change.after / change.before - 1) <= minimum_) {
    return std::nullopt;  // Jitter.
  }
  const double error = blocks_.ErrorOf(from - before, before) *
                       std::sqrt(1.0 / static_cast<double>(after) +
                                 1.0 / static_cast<double>(before));
  if (std::abs(std::log(change.after / change.before)) <=
      kFewestErrors * (1 + kFewBlocks / static_cast<double>(before)) * error) {
    return std::nullopt;
  }
  level_from_ = from;
  return change;
}

}  // namespace steadyrun
