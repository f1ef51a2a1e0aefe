#include "server/detect/hang_detector.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

namespace steadyrun {
namespace {

// A process that waits in a poll or on a lock uses next to nothing; one that
// shares two cores with many still gets more than this.
constexpr double kBusyShare = 0.1;
// How much of the longest step seen is still normal.
constexpr double kLongestFactor = 2;

bool IsLiving(const RankProgress& rank) {
  return rank.is_known && rank.life != RankLife::kExited;
}

bool AnyRankHasStepped(const RunProgress& progress) {
  return std::ranges::any_of(progress.Ranks(), [](const RankProgress& rank) {
    return rank.is_known && rank.step != kNoStep;
  });
}

// Never heard of by training code: a trainer that only one rank reports for,
// or a rank whose first step the others are still waiting for.
bool IsUnattached(const RankProgress& rank) {
  return rank.step == kNoStep && rank.phase == Phase::kStartup;
}

bool AllBusy(const RunProgress& progress) {
  bool any = false;
  for (const RankProgress& rank : progress.Ranks()) {
    if (!IsLiving(rank)) continue;
    if (rank.CpuShare() < kBusyShare) return false;
    any = true;
  }
  return any;
}

// The longest time a rank has been seen stopped; zero when none is.
Duration LongestStop(const RunProgress& progress, MonoTime now) {
  Duration longest{};
  for (const RankProgress& rank : progress.Ranks()) {
    if (IsLiving(rank) && rank.stopped_since.has_value()) {
      longest = std::max(longest, now - *rank.stopped_since);
    }
  }
  return longest;
}

bool IsFresh(const RunProgress& progress, MonoTime now) {
  return std::ranges::all_of(progress.Ranks(), [now](const RankProgress& rank) {
    return !IsLiving(rank) || now - rank.heard <= HangDetector::kFresh;
  });
}

Duration Scaled(Duration duration, double factor) {
  return FromSeconds(ToSeconds(duration) * factor);
}

}  // namespace

void HangDetector::Begin(const WatchedAttempt& attempt, MonoTime now) {
  attempt_ = attempt;
  steps_seen_ = 0;
  longest_seconds_ = 0;
  last_seconds_.fill(0);
  unusual_ = kNoStep;
  last_step_ = kNoStep;
  last_step_at_ = now;
  fired_at_advance_.reset();
  phases_.Begin(attempt.WorldSize());
}

void HangDetector::ObserveStep(Step step, double seconds, MonoTime now) {
  if (step <= last_step_) return;  // Rows may close out of order.
  if (!std::isfinite(seconds) || seconds <= 0) {
    const auto steps =
        last_step_ == kNoStep ? 1 : step.value - last_step_.value;
    seconds = ToSeconds(now - last_step_at_) / static_cast<double>(steps);
  }
  const bool is_unusual = step == unusual_;
  last_step_ = step;
  last_step_at_ = now;
  ++steps_seen_;
  if (is_unusual) return;
  longest_seconds_ = std::max(longest_seconds_, seconds);
  if (steps_seen_ > 1) {
    const auto turn = static_cast<std::size_t>(steps_seen_);
    last_seconds_[turn % last_seconds_.size()] = seconds;
  }
  if (steps_seen_ > kWarmUpSteps) sketch_.Add(seconds);
}

void HangDetector::ObserveRank(const RankState& rank, MonoTime now) {
  if (rank.life != RankLife::kExited) phases_.Observe(rank, now);
  if (rank.phase == Phase::kStartup || !options_.phase.contains(rank.phase)) {
    return;
  }
  unusual_ = std::max(unusual_, rank.step.Next());
}

bool HangDetector::IsWarm() const {
  return steps_seen_ >= kWarmUpSteps && sketch_.Size() >= kEnoughSteps;
}

// Of whole steps, once enough are known.
Duration HangDetector::LearnedOfSteps() const {
  return std::max(FromSeconds(options_.factor * sketch_.Quantile(0.99)),
                  FromSeconds(kLongestFactor * sketch_.Quantile(1)));
}

Duration HangDetector::StepDeadline() const {
  const Duration learned =
      IsWarm() ? LearnedOfSteps()
               : std::max(options_.warm_up,
                          FromSeconds(options_.factor * longest_seconds_));
  return std::clamp(learned, options_.minimum, options_.maximum);
}

Duration HangDetector::PhaseDeadline(Phase phase,
                                     Duration step_deadline) const {
  const auto declared = options_.phase.find(phase);
  if (declared != options_.phase.end()) return declared->second;
  const std::optional<Duration> own =
      phases_.Of(phase, options_.factor, options_.maximum);
  if (!own.has_value()) return step_deadline;
  // A part takes no longer than the whole.
  return IsWarm() ? std::min(*own, std::max(step_deadline, LearnedOfSteps()))
                  : *own;
}

Duration HangDetector::DeadlineNow(const RunProgress& progress) const {
  const bool has_stepped = AnyRankHasStepped(progress);
  Duration step_deadline = StepDeadline();
  if (AllBusy(progress)) {
    step_deadline = std::max(
        step_deadline, std::min(Scaled(step_deadline, options_.busy_factor),
                                options_.busy_maximum));
  }
  // The whole first step belongs to the start, whatever its parts are called.
  Duration deadline = has_stepped
                          ? Duration::zero()
                          : PhaseDeadline(Phase::kStartup, step_deadline);
  for (const RankProgress& rank : progress.Ranks()) {
    if (!IsLiving(rank) || (has_stepped && IsUnattached(rank))) continue;
    deadline = std::max(deadline, PhaseDeadline(rank.phase, step_deadline));
  }
  // No living rank is left to judge by.
  if (deadline == Duration::zero()) {
    deadline = PhaseDeadline(Phase::kStartup, step_deadline);
  }
  return deadline;
}

std::optional<Finding> HangDetector::Evaluate(const RunProgress& progress,
                                              Now now) {
  if (fired_at_advance_.has_value() || progress.Ranks().empty()) {
    return std::nullopt;
  }
  if (now.mono < settled_ || !IsFresh(progress, now.mono)) return std::nullopt;
  MonoTime advanced = progress.LastAdvance();
  // A row may be ahead of the heartbeat that tells of the same step.
  if (last_step_ != kNoStep) advanced = std::max(advanced, last_step_at_);
  const Duration quiet = now.mono - advanced;
  const bool is_stopped = quiet >= options_.stopped &&
                          LongestStop(progress, now.mono) >= options_.stopped;
  const Duration deadline = DeadlineNow(progress);
  if (!is_stopped && quiet < deadline) return std::nullopt;
  fired_at_advance_ = advanced;
  return Describe(progress, quiet, is_stopped ? options_.stopped : deadline,
                  is_stopped, now);
}

std::optional<Clearance> HangDetector::Cleared(const RunProgress& progress) {
  if (!fired_at_advance_.has_value() ||
      progress.LastAdvance() <= *fired_at_advance_) {
    return std::nullopt;
  }
  fired_at_advance_.reset();
  Clearance clearance;
  clearance.kind = IncidentKind::kHang;
  clearance.run = attempt_.run;
  clearance.reason = fmt::format("the run advances again, at step {}",
                                 progress.MaxStep().value);
  return clearance;
}

Finding HangDetector::Describe(const RunProgress& progress, Duration quiet,
                               Duration deadline, bool is_stopped,
                               Now now) const {
  const bool is_start = !AnyRankHasStepped(progress) && !is_stopped;
  const Now onset{
      now.mono - quiet,
      now.wall - std::chrono::duration_cast<std::chrono::milliseconds>(quiet)};
  Finding finding =
      MakeFinding(is_start ? IncidentKind::kStartFailed : IncidentKind::kHang,
                  attempt_, onset);
  finding.step = progress.MinStep();
  Laggard laggard = FindLaggard(progress, now.mono);
  finding.culprit = laggard.culprit;
  const std::string where =
      is_start ? std::string("before the first step")
               : fmt::format("after step {}", finding.step.value);
  const std::string who =
      laggard.culprit.rank != kNoRank
          ? RankOnNode(laggard.culprit.rank, laggard.culprit.node) +
                " did not arrive: "
      : !laggard.culprit.node.empty()
          ? "the ranks on " + laggard.culprit.node + " did not arrive: "
          : std::string("which rank did not arrive is unknown: ");
  finding.reason = fmt::format("No rank advanced for {} {}, {}{}.",
                               HumanSeconds(quiet), where, who, laggard.why);
  finding.evidence.push_back(fmt::format(
      "quiet for {}, deadline {}{}", HumanSeconds(quiet),
      HumanSeconds(deadline), is_stopped ? " for a stopped process" : ""));
  if (sketch_.Size() > 0) {
    finding.evidence.push_back(fmt::format(
        "step times: median {}, 99 % {}, longest {} of the last {}",
        HumanSeconds(FromSeconds(sketch_.Quantile(0.5))),
        HumanSeconds(FromSeconds(sketch_.Quantile(0.99))),
        HumanSeconds(FromSeconds(sketch_.Quantile(1))), sketch_.Size()));
  }
  std::ranges::move(laggard.evidence, std::back_inserter(finding.evidence));
  const Phase phase =
      laggard.culprit.rank != kNoRank
          ? progress
                .Ranks()[static_cast<std::size_t>(laggard.culprit.rank.value)]
                .phase
          : Phase::kUnspecified;
  finding.signature =
      fmt::format("{} phase={} rank={}", IncidentKindName(finding.kind),
                  PhaseName(phase), laggard.culprit.rank.value);
  return finding;
}

}  // namespace steadyrun
