#include "server/detect/speed/straggler_detector.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <functional>
#include <string>

#include "server/model/row_columns.h"

namespace steadyrun {
namespace {

constexpr std::size_t kMinimumPeers = 3;
constexpr float kClip = 0.10f;
// Above this the noise, not the slack, decides; sums are then in sigmas.
constexpr float kQuietSigma = 0.02f;
constexpr float kAlarmSigmas = 20;
constexpr float kClipSigmas = 3;
constexpr float kWindowMads = 5;
// The median of 20 has an error of 0.28 sigma.
constexpr float kWorseSigmas = 2;
constexpr float kSmoothing = 0.05f;  // About 20 estimates.
constexpr std::int64_t kEvaluateEvery = 5;
// After so many evaluations a window holds only steps since it was told.
constexpr std::uint8_t kSettled = 20 / kEvaluateEvery;
constexpr std::size_t kParts = 3;  // Of the ranks, in rows of their own.
// The windows of 0, 20 and 40 steps ago.
constexpr std::uint16_t kThreeWindows = 1U | 1U << 4 | 1U << 8;
constexpr std::uint16_t kTwoWindows = 1U | 1U << 4;
constexpr std::size_t kMaxLines = 8;
constexpr std::uint8_t kNotTold = 0;
constexpr std::uint8_t kReported = 1;
constexpr std::uint8_t kActed = 2;

// A column that nearly all ranks fill; empty when they do not: a trainer may
// report the tokens of all ranks by one.
std::span<const float> Usable(std::span<const float> column) {
  const auto reported = static_cast<std::size_t>(
      std::ranges::count_if(column, [](float v) { return std::isfinite(v); }));
  return reported * 10 >= column.size() * 9 ? column : std::span<const float>();
}

bool IsTime(float value) { return value > 0 && std::isfinite(value); }

// A new node costs minutes of the whole run: 1 % pays 3 minutes back in 5
// hours.
constexpr double kWorth = 0.01;
constexpr std::ptrdiff_t kMostSlowNodes = 3;

bool IsOfNode(const SlowGroup& group) {
  return group.shape == SlowGroup::Shape::kRank ||
         group.shape == SlowGroup::Shape::kNode;
}

}  // namespace

void StragglerDetector::Begin(const WatchedWorld& world) {
  roles_.assign(world.Size() > 0 ? world.places.Stages() : 0, Role());
  stage_seconds_.assign(roles_.size(), 0);
  sums_.Reset(world.Size());
  windows_.Reset(world.Size());
  over_.assign(world.Size(), 0);
  told_.assign(world.Size(), 0);
  told_for_.assign(world.Size(), 0);
  told_excess_.assign(world.Size(), 0);
  rows_ = 0;
  slow_ = 0;
  cost_ = 0;
  is_judging_ = false;
}

// Writes y of the ranks of one stage; false when it cannot be judged.
bool StragglerDetector::Normalise(const StepRow& row, std::size_t stage,
                                  const WatchedWorld& world,
                                  std::span<float> excess) {
  const std::size_t size = world.places.StageSize();
  const std::size_t first = stage * size;
  const auto part = [&](std::span<const float> column) {
    return column.empty() ? column : column.subspan(first, size);
  };
  const auto compute = part(RowColumn(row, Metric::kComputeSeconds));
  const auto tokens = Usable(part(RowColumn(row, Metric::kTokens)));
  const auto squares = Usable(part(RowColumn(row, "sum_sq_len")));
  Role& role = roles_[stage];
  if (role.work.IsReady() && role.work.UsesSquares() == squares.empty()) {
    role.work = WorkModel();  // The trainer reports it only now, or no more.
  }
  if (!tokens.empty()) role.work.Learn(compute, tokens, squares);
  const bool is_work = !tokens.empty() && role.work.IsReady();

  present_.clear();
  for (std::size_t i = 0; i < size; ++i) {
    float ratio = compute[i];
    if (is_work && IsTime(tokens[i])) {
      ratio /= role.work.Predict(tokens[i], squares.empty() ? 0 : squares[i]);
    } else if (is_work) {
      ratio = AbsentValue();  // Not comparable with those that are divided.
    }
    excess[i] = ratio;
    if (IsTime(ratio)) present_.push_back(ratio);
  }
  if (present_.size() < kMinimumPeers || present_.size() * 2 < size) {
    std::ranges::fill(excess, 0.0f);
    return false;
  }
  const float median = FastMedian(present_, &scratch_);
  const float scale = 1 / median;
  for (float& value : excess) {
    value = IsTime(value) ? value * scale - 1 : 0.0f;
  }
  stage_seconds_[stage] = is_work ? median * role.work.Typical() : median;
  return true;
}

void StragglerDetector::UpdateSigma(Role& role, std::span<const float> excess) {
  const float sigma = FastMad(excess, 0, &scratch_);
  role.sigma =
      role.sigma == 0 ? sigma : role.sigma + kSmoothing * (sigma - role.sigma);
}

CusumLimits StragglerDetector::LimitsFor(float sigma) const {
  CusumLimits limits{kClip, static_cast<float>(options_.report_excess),
                     static_cast<float>(options_.report_sum)};
  if (sigma > kQuietSigma) {
    limits.slack = std::max(limits.slack, sigma);
    limits.alarm = std::max(limits.alarm, kAlarmSigmas * sigma);
    limits.clip = std::max(limits.clip, kClipSigmas * sigma);
  }
  return limits;
}

void StragglerDetector::Observe(const StepRow& row, const WatchedWorld& world,
                                Now now, Verdicts* verdicts) {
  is_judging_ = false;
  if (RowColumn(row, Metric::kComputeSeconds).size() != world.Size()) return;
  const std::size_t size = world.places.StageSize();
  // The spread in one row of five, the medians in three others, and nothing in
  // the one that ends a block of the job's series (block_series.h): no row
  // pays for all.
  const auto turn = static_cast<std::size_t>(rows_ % kEvaluateEvery);
  const std::span<float> excess = windows_.Next();
  std::vector<std::size_t> raised;
  std::vector<std::size_t> calmed;
  for (std::size_t stage = 0; stage < roles_.size(); ++stage) {
    const std::span<float> part = excess.subspan(stage * size, size);
    if (!Normalise(row, stage, world, part)) continue;
    is_judging_ = true;
    Role& role = roles_[stage];
    if (turn == 0) UpdateSigma(role, part);
    role.limits = LimitsFor(role.sigma);
    sums_.Add(stage * size, part, role.limits, row.step, &raised, &calmed);
  }
  if (!is_judging_) return;
  windows_.Commit();
  ++rows_;
  // What the windows still see is not over: with much noise the sum comes
  // back to 0 now and then.
  std::erase_if(calmed, [&](std::size_t r) {
    const bool is_slow = told_[r] == kActed && (over_[r] & 1U) != 0;
    if (is_slow) sums_.Raise(r);
    return is_slow;
  });
  if (!calmed.empty()) Calm(calmed, world, verdicts);
  if (!raised.empty()) {
    Report(raised, /*is_action=*/false, row, world, now, verdicts);
  }
  if (turn >= 1 && turn <= kParts) windows_.Compute(turn - 1, kParts);
  if (turn == kParts && windows_.Filled() == WindowMedians::kWindow) {
    ForgetWorse(world);
    std::vector<std::size_t> act;
    JudgeWindows(world, &act);
    if (!act.empty()) {
      Report(act, /*is_action=*/true, row, world, now, verdicts);
    }
  }
}

void StragglerDetector::ForgetWorse(const WatchedWorld& world) {
  const std::span<const float> medians = windows_.Medians();
  for (std::size_t r = 0; r < told_.size(); ++r) {
    if (told_[r] == kNotTold) continue;
    if (told_for_[r] < kSettled) {
      told_excess_[r] = medians[r];
      ++told_for_[r];
      continue;
    }
    const float margin = static_cast<float>(options_.act_excess) +
                         kWorseSigmas * roles_[world.places.StageOf(r)].sigma;
    if (medians[r] <= told_excess_[r] + margin) continue;
    told_[r] = kNotTold;
    over_[r] = 0;
    sums_.Restart(r);
  }
}

void StragglerDetector::JudgeWindows(const WatchedWorld& world,
                                     std::vector<std::size_t>* act) {
  const std::span<const float> medians = windows_.Medians();
  const std::size_t size = world.places.StageSize();
  for (std::size_t stage = 0; stage < roles_.size(); ++stage) {
    const std::span<const float> part = medians.subspan(stage * size, size);
    const float center = FastMedian(part, &scratch_);
    const float mad = FastMad(part, center, &scratch_);
    const float limit = std::max(static_cast<float>(options_.act_excess),
                                 center + kWindowMads * mad);
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t r = stage * size + i;
      const std::uint32_t is_over = part[i] > limit ? 1 : 0;
      over_[r] = static_cast<std::uint16_t>(over_[r] << 1U | is_over);
      if ((over_[r] & kThreeWindows) != kThreeWindows) continue;
      if (told_[r] != kActed) act->push_back(r);
    }
  }
}

std::vector<std::size_t> StragglerDetector::Companions(
    bool is_action, const WatchedWorld& world) const {
  // Those on their way belong to the same story: the ranks of a slow node
  // cross the line some steps apart.
  const auto is_near = [&](std::size_t r) {
    return is_action ? (over_[r] & kTwoWindows) == kTwoWindows
                     : sums_.IsRaised(r) ||
                           sums_.Sum(r) >
                               roles_[world.places.StageOf(r)].limits.alarm / 2;
  };
  const std::uint8_t before = is_action ? kActed : kReported;
  std::vector<std::uint8_t> is_node_new(world.node_size.size(), 0);
  for (std::size_t r = 0; r < world.Size(); ++r) {
    if (told_[r] < before && is_near(r)) is_node_new[world.node_of[r]] = 1;
  }
  std::vector<std::size_t> slow;
  for (std::size_t r = 0; r < world.Size(); ++r) {
    if (is_node_new[world.node_of[r]] != 0 && is_near(r)) slow.push_back(r);
  }
  return slow;
}

void StragglerDetector::Report(const std::vector<std::size_t>& raised,
                               bool is_action, const StepRow& row,
                               const WatchedWorld& world, Now now,
                               Verdicts* verdicts) {
  std::size_t told = 0;
  std::size_t left_out = 0;
  for (const SlowGroup& group :
       GroupSlowRanks(Companions(is_action, world), world)) {
    const bool is_new = std::ranges::any_of(group.ranks, [&](std::size_t r) {
      return std::ranges::binary_search(raised, r);
    });
    if (!is_new) continue;
    // Not marked either: it is asked again while it is slow.
    if (is_action && IsOfNode(group) &&
        !IsWorthReplacing(group, world, row.step)) {
      continue;
    }
    for (const std::size_t r : group.ranks) {
      sums_.Raise(r);
      if (told_[r] == kNotTold) told_for_[r] = 0;
      told_[r] = std::max(told_[r], is_action ? kActed : kReported);
    }
    if (told == kMaxFindings) {
      ++left_out;
      continue;
    }
    ++told;
    verdicts->findings.push_back(Describe(group, is_action, row, world, now));
  }
  if (left_out > 0) {
    verdicts->findings.back().evidence.push_back(
        fmt::format("and {} more of this step", left_out));
  }
  CountSlow(world, row.step);
}

bool StragglerDetector::IsWorthReplacing(const SlowGroup& group,
                                         const WatchedWorld& world,
                                         Step step) const {
  std::vector<std::uint8_t> is_slow(world.node_size.size(), 0);
  for (std::size_t r = 0; r < world.Size(); ++r) {
    if (sums_.IsRaised(r)) is_slow[world.node_of[r]] = 1;
  }
  return std::ranges::count(is_slow, 1) <= kMostSlowNodes &&
         CostOf(group.ranks, world, step) >= kWorth;
}

void StragglerDetector::CountSlow(const WatchedWorld& world, Step step) {
  std::vector<std::size_t> slow;
  for (std::size_t r = 0; r < world.Size(); ++r) {
    if (sums_.IsRaised(r)) slow.push_back(r);
  }
  slow_ = slow.size();
  cost_ = CostOf(slow, world, step);
}

float StragglerDetector::ExcessOf(std::size_t rank, Step step) const {
  const std::int64_t since = step.value - sums_.Onset(rank).value + 1;
  const auto steps = static_cast<std::size_t>(std::clamp<std::int64_t>(
      since, 1, static_cast<std::int64_t>(WindowMedians::kWindow)));
  return windows_.MeanOfLast(rank, steps);
}

double StragglerDetector::CostOf(const std::vector<std::size_t>& ranks,
                                 const WatchedWorld& world, Step step) const {
  if (ranks.empty()) return 0;
  const std::span<const float> medians = windows_.Medians();
  double without = 0;
  double with = 0;
  auto next = ranks.begin();
  for (std::size_t r = 0; r < world.Size(); ++r) {
    const double typical = stage_seconds_[world.places.StageOf(r)];
    if (next != ranks.end() && *next == r) {
      ++next;
      with = std::max(with, typical * (1 + ExcessOf(r, step)));
      without = std::max(without, typical);
    } else {
      without = std::max(without, typical * (1 + medians[r]));
    }
  }
  return without > 0 ? std::max(0.0, with / without - 1) : 0;
}

Finding StragglerDetector::Describe(const SlowGroup& group, bool is_action,
                                    const StepRow& row,
                                    const WatchedWorld& world, Now now) const {
  Finding finding = MakeFinding(IncidentKind::kStraggler, world.attempt, now);
  finding.detector = "straggler";
  finding.severity = Severity::kWarning;
  finding.culprit = group.culprit;
  finding.step = row.step;
  std::vector<std::size_t> slowest = group.ranks;
  std::ranges::stable_sort(slowest, std::ranges::greater(), [&](std::size_t r) {
    return ExcessOf(r, row.step);
  });
  Step onset = row.step;
  float most = 0;
  for (const std::size_t r : slowest) {
    onset = std::min(onset, sums_.Onset(r));
    most = std::max(most, ExcessOf(r, row.step));
  }
  finding.onset_step = onset;
  finding.advice =
      is_action && IsOfNode(group) ? Advice::kReplaceNode : Advice::kReport;
  const double cost = CostOf(group.ranks, world, row.step);
  finding.reason = fmt::format(
      "{} computes {:.1f} % slower than its peers since step {}{}.", group.name,
      100 * most, onset.value,
      cost > 0
          ? fmt::format(", which makes each step {:.1f} % longer", 100 * cost)
          : std::string());
  finding.reason[0] = static_cast<char>(
      std::toupper(static_cast<unsigned char>(finding.reason[0])));
  finding.signature = "straggler " + group.name;
  for (std::size_t i = 0; i < slowest.size() && i < kMaxLines; ++i) {
    const Rank rank{static_cast<std::int32_t>(slowest[i])};
    if (i < kMaxSuspects) finding.suspects.push_back(rank);
    finding.evidence.push_back(fmt::format(
        "{}: {:+.1f} % since step {}",
        RankOnNode(rank, world.NodeOf(slowest[i])),
        100 * ExcessOf(slowest[i], row.step), sums_.Onset(slowest[i]).value));
  }
  if (slowest.size() > kMaxLines) {
    finding.evidence.push_back(
        fmt::format("and {} more ranks", slowest.size() - kMaxLines));
  }
  const std::size_t stage = world.places.StageOf(slowest.front());
  const Role& role = roles_[stage];
  finding.evidence.push_back(fmt::format(
      "peers: {} ranks, median {}, spread {:.2f} %{}", world.places.StageSize(),
      HumanSeconds(FromSeconds(stage_seconds_[stage])), 100 * role.sigma,
      role.work.IsReady() ? ", normalised by work" : ""));
  finding.evidence.push_back(fmt::format(
      "what if: a step takes {:.3f} times what it would without it (waste "
      "{:.1f} %)",
      1 + cost, 100 * (1 - 1 / (1 + cost))));
  finding.evidence.push_back(
      is_action ? "20-step medians above the limit in three windows in a row"
                : "the excess of every step since then adds up to the limit");
  if (!world.places.Note().empty()) {
    finding.evidence.push_back(world.places.Note());
  }
  return finding;
}

void StragglerDetector::Calm(const std::vector<std::size_t>& calmed,
                             const WatchedWorld& world, Verdicts* verdicts) {
  std::vector<std::uint32_t> still(world.node_size.size(), 0);
  slow_ = 0;
  for (std::size_t r = 0; r < world.Size(); ++r) {
    if (!sums_.IsRaised(r)) continue;
    ++slow_;
    ++still[world.node_of[r]];
  }
  for (const std::size_t r : calmed) told_[r] = kNotTold;
  Clearance clearance;
  clearance.kind = IncidentKind::kStraggler;
  clearance.run = world.attempt.run;
  if (slow_ == 0) {
    // Of all, those without a culprit too.
    clearance.reason = "all ranks compute as fast as their peers again";
    verdicts->cleared.push_back(clearance);
    return;
  }
  for (const std::size_t r : calmed) {
    const std::uint32_t node = world.node_of[r];
    if (still[node]++ > 0) continue;  // Others of it are slow, or it was said.
    clearance.culprit.node = world.NodeOf(r);
    clearance.reason = fmt::format(
        "{} computes as fast as its peers again",
        RankOnNode(Rank{static_cast<std::int32_t>(r)}, world.NodeOf(r)));
    verdicts->cleared.push_back(clearance);
  }
}

std::size_t StragglerDetector::StateBytes() const {
  return sums_.StateBytes() + windows_.StateBytes() +
         over_.capacity() * sizeof(std::uint16_t) + told_.capacity() +
         told_for_.capacity() +
         (told_excess_.capacity() + present_.capacity() +
          scratch_.sample.capacity() + scratch_.kept.capacity() +
          scratch_.deviations.capacity()) *
             sizeof(float);
}

}  // namespace steadyrun
