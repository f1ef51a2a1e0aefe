#include "proto/messages/messages.h"

#include <string.h>

#include <array>
#include <bit>
#include <cstddef>

#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

constexpr std::array<std::string_view, 16> kPhaseNames = {
    "unspecified", "startup",     "step",      "data",
    "forward",     "backward",    "optimizer", "checkpoint",
    "evaluation",  "compile",     "rollout",   "reward",
    "reference",   "weight_sync", "shutdown",  "other"};

}  // namespace

std::string_view PhaseName(Phase phase) {
  const auto index = static_cast<std::size_t>(phase);
  return index < kPhaseNames.size() ? kPhaseNames[index] : "other";
}

std::optional<Phase> ParsePhase(std::string_view name) {
  for (std::size_t i = 1; i < kPhaseNames.size(); ++i) {
    if (kPhaseNames[i] == name) return static_cast<Phase>(i);
  }
  return std::nullopt;
}

std::string DescribeExit(const ExitStatus& exit) {
  if (exit.signal == 0) return fmt::format("exit code {}", exit.code);
  const char* name = ::sigabbrev_np(exit.signal);
  if (name == nullptr) return fmt::format("signal {}", exit.signal);
  return fmt::format("SIG{}", name);
}

float AbsentValue() { return std::bit_cast<float>(kAbsentBits); }

bool IsAbsent(float value) {
  return std::bit_cast<std::uint32_t>(value) == kAbsentBits;
}

std::span<const float> StepBlock::Column(Metric metric) const {
  for (std::size_t m = 0; m < metrics.size(); ++m) {
    if (metrics[m] != static_cast<std::uint32_t>(metric)) continue;
    return std::span(values).subspan(m * ranks.size(), ranks.size());
  }
  return {};
}

std::string_view CommandOutcomeName(CommandOutcome outcome) {
  switch (outcome) {
    case CommandOutcome::kDone:
      return "done";
    case CommandOutcome::kStaleEpoch:
      return "stale_epoch";
    case CommandOutcome::kStaleAttempt:
      return "stale_attempt";
    case CommandOutcome::kBootMismatch:
      return "boot_mismatch";
    case CommandOutcome::kBusy:
      return "busy";
    case CommandOutcome::kMissed:
      return "missed";
    case CommandOutcome::kFailed:
      return "failed";
    case CommandOutcome::kRefused:
      return "refused";
  }
  return "unknown";
}

bool IsTelemetry(const ReportBody& body) {
  return std::holds_alternative<StepBlock>(body);
}

std::string_view CommandName(const CommandBody& body) {
  constexpr std::array<std::string_view, 5> kNames = {"stop", "start", "save",
                                                      "verify", "forget"};
  return kNames[body.index()];
}

}  // namespace steadyrun
