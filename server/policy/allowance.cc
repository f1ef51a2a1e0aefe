#include "server/policy/allowance.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cstdlib>

#include "base/config_reader.h"

namespace steadyrun {
namespace {

constexpr Duration kHour = std::chrono::hours(1);
constexpr Duration kDay = std::chrono::hours(24);

std::int32_t CountWithin(const std::vector<RestartRecord>& restarts,
                         Duration window, MonoTime now) {
  return static_cast<std::int32_t>(
      std::ranges::count_if(restarts, [&](const RestartRecord& restart) {
        return now - restart.at_mono < window;
      }));
}

Allowance Halt(std::string reason) {
  Allowance allowance;
  allowance.verdict = AllowanceVerdict::kHalt;
  allowance.remedy = Remedy::kHalt;
  allowance.reason = std::move(reason);
  return allowance;
}

Duration BackoffFor(const RestartPolicy& policy,
                    std::int32_t without_progress) {
  if (policy.backoff.empty()) return {};
  const auto last = static_cast<std::int32_t>(policy.backoff.size()) - 1;
  return policy
      .backoff[static_cast<std::size_t>(std::clamp(without_progress, 0, last))];
}

// When the newest restart for this kind was; nothing when there was none.
const RestartRecord* NewestOf(const std::vector<RestartRecord>& restarts,
                              IncidentKind kind) {
  for (auto it = restarts.rbegin(); it != restarts.rend(); ++it) {
    if (it->kind == kind) return &*it;
  }
  return nullptr;
}

}  // namespace

std::int32_t CountSameFailure(const RestartPolicy& policy,
                              const std::vector<RestartRecord>& restarts,
                              const Failure& failure) {
  return static_cast<std::int32_t>(
      std::ranges::count_if(restarts, [&](const RestartRecord& restart) {
        return restart.kind == failure.kind &&
               restart.signature == failure.signature &&
               std::abs(restart.step.value - failure.step.value) <=
                   policy.same_failure_steps;
      }));
}

Allowance AllowRestart(const Policy& policy,
                       const std::vector<RestartRecord>& restarts,
                       std::int32_t without_progress, const Failure& failure,
                       MonoTime now) {
  const RestartPolicy& limits = policy.restart;
  const std::int32_t same = CountSameFailure(limits, restarts, failure) + 1;
  if (same >= limits.same_failure_limit) {
    return Halt(fmt::format(
        "{} repeats at the same step: {} times at step {}{}; the code or the "
        "data at that step is the likely cause",
        IncidentKindName(failure.kind), same, failure.step.value,
        failure.signature.empty()
            ? std::string()
            : fmt::format(" with '{}'", failure.signature)));
  }
  if (without_progress >= limits.no_progress_limit) {
    return Halt(
        fmt::format("{} restarts in a row brought no new step (limit {})",
                    without_progress, limits.no_progress_limit));
  }
  const std::int32_t hour = CountWithin(restarts, kHour, now);
  if (hour >= limits.restarts_per_hour) {
    return Halt(
        fmt::format("the budget of {} automatic restarts an hour is "
                    "used up",
                    limits.restarts_per_hour));
  }
  const std::int32_t day = CountWithin(restarts, kDay, now);
  if (day >= limits.restarts_per_day) {
    return Halt(
        fmt::format("the budget of {} automatic restarts a day is "
                    "used up",
                    limits.restarts_per_day));
  }

  Allowance allowance;
  const KindPolicy& kind = policy.For(failure.kind);
  allowance.remedy = RungOf(kind, without_progress);
  if (allowance.remedy == Remedy::kHalt) {
    return Halt(
        fmt::format("the ladder of {} ends in a halt after {} "
                    "failures without progress",
                    IncidentKindName(failure.kind), without_progress));
  }
  const Duration backoff = BackoffFor(limits, without_progress);
  allowance.not_before = now + backoff;
  std::string wait =
      backoff > Duration::zero()
          ? fmt::format(", after a backoff of {}", FormatDuration(backoff))
          : std::string();
  const RestartRecord* newest = NewestOf(restarts, failure.kind);
  if (newest != nullptr &&
      newest->at_mono + kind.cooldown > allowance.not_before) {
    allowance.not_before = newest->at_mono + kind.cooldown;
    wait = fmt::format(", after the cooldown of {} of {}",
                       FormatDuration(kind.cooldown),
                       IncidentKindName(failure.kind));
  }
  allowance.reason = fmt::format(
      "{} for {}{}; {} of {} restarts this hour", RemedyName(allowance.remedy),
      IncidentKindName(failure.kind), wait, hour + 1, limits.restarts_per_hour);
  return allowance;
}

std::int32_t RestartsLeft(const Policy& policy,
                          const std::vector<RestartRecord>& restarts,
                          MonoTime now) {
  const std::int32_t left = std::min(
      policy.restart.restarts_per_hour - CountWithin(restarts, kHour, now),
      policy.restart.restarts_per_day - CountWithin(restarts, kDay, now));
  return std::max(left, 0);
}

bool IsToBeQuarantined(const QuarantinePolicy& policy,
                       const std::vector<WallTime>& blamed, WallTime now) {
  if (policy.blamed_limit <= 0) return false;
  const auto recent = std::ranges::count_if(
      blamed, [&](WallTime at) { return now - at <= policy.blamed_within; });
  return recent >= policy.blamed_limit;
}

}  // namespace steadyrun
