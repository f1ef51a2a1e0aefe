#include "server/detect/nan_detector.h"

#include <spdlog/fmt/fmt.h>

#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "proto/messages/messages.h"

namespace steadyrun {
namespace {

constexpr std::uint32_t kExponent = 0x7f800000;
constexpr std::size_t kMaxLines = 8;

bool IsBad(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return (bits & kExponent) == kExponent && bits != kAbsentBits;
}

// The column of a metric in the packed row; empty when it is not there.
std::span<const float> Column(const StepRow& row, Metric metric) {
  const auto world = static_cast<std::size_t>(row.world_size);
  for (std::size_t m = 0; m < row.metrics.size(); ++m) {
    if (row.metrics[m] != static_cast<std::uint32_t>(metric)) continue;
    if ((m + 1) * world > row.values.size()) return {};
    return std::span<const float>(row.values).subspan(m * world, world);
  }
  return {};
}

std::vector<std::size_t> BadRanks(std::span<const float> values) {
  std::vector<std::size_t> ranks;
  for (std::size_t r = 0; r < values.size(); ++r) {
    if (IsBad(values[r])) ranks.push_back(r);
  }
  return ranks;
}

std::size_t CountReported(std::span<const float> values) {
  std::size_t reported = 0;
  for (const float value : values) reported += IsAbsent(value) ? 0 : 1;
  return reported;
}

}  // namespace

bool HasNonFinite(std::span<const float> values) {
  // No early exit: the loop becomes vector instructions, and the answer is
  // nearly always no.
  std::uint32_t bad = 0;
  for (const float value : values) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    bad |= static_cast<std::uint32_t>((bits & kExponent) == kExponent) &
           static_cast<std::uint32_t>(bits != kAbsentBits);
  }
  return bad != 0;
}

void NanDetector::Begin(const WatchedAttempt& attempt) {
  attempt_ = attempt;
  first_.reset();
  overflows_ = 0;
  overflow_last_ = kNoStep;
}

bool NanDetector::IsSkippedStep(const StepRow& row) {
  const std::span<const float> scale = Column(row, Metric::kLossScale);
  if (CountReported(scale) == 0 || HasNonFinite(scale)) return false;
  overflows_ = row.step == overflow_last_.Next() ? overflows_ + 1 : 1;
  overflow_last_ = row.step;
  return overflows_ <= options_.overflow_steps;
}

std::optional<Finding> NanDetector::Observe(const StepRow& row, Now now) {
  if (row.attempt != attempt_.attempt) return std::nullopt;
  const std::span<const float> loss = Column(row, Metric::kLoss);
  const std::span<const float> norm = Column(row, Metric::kGradNorm);
  const bool is_loss = HasNonFinite(loss);
  if (!is_loss && !HasNonFinite(norm)) return std::nullopt;
  if (first_.has_value() && row.step >= *first_) return std::nullopt;
  if (!is_loss && IsSkippedStep(row)) return std::nullopt;
  first_ = row.step;
  return Describe(row, is_loss, is_loss ? loss : norm, now);
}

Finding NanDetector::Describe(const StepRow& row, bool is_loss,
                              std::span<const float> values, Now now) const {
  const std::string_view what = is_loss ? "loss" : "gradient norm";
  const std::vector<std::size_t> bad = BadRanks(values);
  const std::size_t reported = CountReported(values);
  Finding finding = MakeFinding(IncidentKind::kNan, attempt_, now);
  finding.step = row.step;
  finding.signature = fmt::format("nan {}", what);
  const float value = values[bad.front()];
  const std::string_view word = std::isnan(value) ? "NaN"
                                : value > 0       ? "+Inf"
                                                  : "-Inf";
  // After the all-reduce all replicas are alike; most being bad singles
  // nobody out. A lone reporter is what there is.
  if (reported == 1 || bad.size() * 2 <= reported) {
    const Rank rank{static_cast<std::int32_t>(bad.front())};
    finding.culprit = {attempt_.NodeOf(rank), rank};
    finding.reason = fmt::format(
        "The {} of {} is {} at step {}{}.", what,
        RankOnNode(rank, finding.culprit.node), word, row.step.value,
        bad.size() > 1 ? fmt::format(", and of {} more ranks", bad.size() - 1)
                       : std::string());
  } else {
    finding.reason = fmt::format(
        "The {} is {} at step {} on {} of {} ranks, so which rank came first "
        "is unknown.",
        what, word, row.step.value, bad.size(), reported);
  }
  for (std::size_t i = 0; i < bad.size() && i < kMaxLines; ++i) {
    const Rank rank{static_cast<std::int32_t>(bad[i])};
    finding.evidence.push_back(fmt::format(
        "step {}: {} {} = {}", row.step.value,
        RankOnNode(rank, attempt_.NodeOf(rank)), what, values[bad[i]]));
  }
  if (bad.size() > kMaxLines) {
    finding.evidence.push_back(
        fmt::format("and {} more ranks", bad.size() - kMaxLines));
  }
  if (!is_loss) {
    finding.evidence.push_back("all reported losses of this step are finite");
  }
  if (overflow_last_ == row.step && overflows_ > 1) {
    finding.evidence.push_back(
        fmt::format("{} steps in a row overflowed: more than loss scaling "
                    "skips",
                    overflows_));
  }
  return finding;
}

}  // namespace steadyrun
