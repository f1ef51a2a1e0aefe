#include "server/policy/policy_parser.h"

#include <spdlog/fmt/fmt.h>

#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/config_reader.h"
#include "base/status_macros.h"
#include "server/policy/training_keys.h"

namespace steadyrun {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::size_t kMaxBackoffs = 16;
constexpr ConfigRange<Duration> kWait = {Duration(0), hours(24)};

const std::vector<std::pair<std::string_view, Mode>>& Modes() {
  static const auto& modes =
      *new std::vector<std::pair<std::string_view, Mode>>{
          {"observe", Mode::kObserve},
          {"advise", Mode::kAdvise},
          {"act", Mode::kAct}};
  return modes;
}

// What may stand on the ladder of a kind: restarting does not mend a warning,
// and saving does not mend a crash.
std::vector<std::pair<std::string_view, Remedy>> RemediesFor(
    IncidentKind kind) {
  std::vector<Remedy> remedies;
  switch (kind) {
    case IncidentKind::kCrash:
    case IncidentKind::kHang:
    case IncidentKind::kNodeLost:
    case IncidentKind::kStartFailed:
      remedies = {Remedy::kRestart, Remedy::kReplaceNode, Remedy::kRollback,
                  Remedy::kPage, Remedy::kHalt};
      break;
    case IncidentKind::kNan:
      // A restart from the newest checkpoint may hold the NaN.
      remedies = {Remedy::kRollback, Remedy::kPage, Remedy::kHalt};
      break;
    case IncidentKind::kAgentLost:
    case IncidentKind::kStorage:
      remedies = {Remedy::kNone, Remedy::kPage};
      break;
    case IncidentKind::kCheckpointBad:
    case IncidentKind::kCheckpointOverdue:
      remedies = {Remedy::kNone, Remedy::kSave, Remedy::kPage};
      break;
    default:
      break;
  }
  if (IsTrainingKind(kind)) {
    remedies = {Remedy::kNone,        Remedy::kPage,     Remedy::kSave,
                Remedy::kReplaceNode, Remedy::kRollback, Remedy::kHalt};
  }
  std::vector<std::pair<std::string_view, Remedy>> words;
  for (const Remedy remedy : remedies) {
    words.emplace_back(RemedyName(remedy), remedy);
  }
  return words;
}

void ReadKinds(ConfigReader& reader, Policy& policy) {
  for (std::size_t i = 0; i < kIncidentKinds; ++i) {
    const auto kind = static_cast<IncidentKind>(i);
    KindPolicy& of = policy.For(kind);
    const std::string table =
        fmt::format("incident.{}.", IncidentKindName(kind));
    reader.ReadChoice(table + "mode", &of.mode, Modes());
    reader.ReadChoiceList(table + "ladder", &of.ladder, RemediesFor(kind), 1,
                          kMaxRungs);
    reader.ReadDuration(table + "cooldown", &of.cooldown, kWait);
  }
}

void ReadRestart(ConfigReader& reader, Policy& policy) {
  RestartPolicy& restart = policy.restart;
  reader.ReadInt32("restart.per_hour", &restart.restarts_per_hour, {0, 1000});
  reader.ReadInt32("restart.per_day", &restart.restarts_per_day, {0, 10000});
  reader.ReadInt32("restart.same_failure_limit", &restart.same_failure_limit,
                   {1, 100});
  reader.ReadInt("restart.same_failure_steps", &restart.same_failure_steps,
                 {0, 1'000'000});
  reader.ReadInt32("restart.no_progress_limit", &restart.no_progress_limit,
                   {0, 100});
  reader.ReadDurationList("restart.backoff", &restart.backoff, kWait,
                          kMaxBackoffs);
  QuarantinePolicy& quarantine = policy.quarantine;
  reader.ReadInt32("quarantine.blamed_limit", &quarantine.blamed_limit,
                   {0, 16});
  reader.ReadDuration("quarantine.blamed_within", &quarantine.blamed_within,
                      {minutes(1), hours(24 * 30)});
  reader.ReadBool("quarantine.use_as_last_resort",
                  &quarantine.use_as_last_resort);
}

void ReadHang(ConfigReader& reader, HangOptions& hang) {
  reader.ReadDuration("detect.hang.timeout", &hang.minimum,
                      {seconds(1), hours(24)});
  reader.ReadDuration("detect.hang.timeout_max", &hang.maximum,
                      {seconds(1), hours(24)});
  if (hang.minimum > hang.maximum) {
    reader.AddError("detect.hang.timeout",
                    fmt::format("'detect.hang.timeout' ({}) must not exceed "
                                "'detect.hang.timeout_max' ({})",
                                FormatDuration(hang.minimum),
                                FormatDuration(hang.maximum)));
  }
  reader.ReadDouble("detect.hang.factor", &hang.factor, {1.5, 1000});
  reader.ReadDuration("detect.hang.warm_up", &hang.warm_up,
                      {seconds(1), hours(24)});
  reader.ReadDuration("detect.hang.stopped", &hang.stopped,
                      {seconds(1), hours(24)});
  reader.ReadDouble("detect.hang.busy_factor", &hang.busy_factor, {1, 100});
  reader.ReadDuration("detect.hang.busy_max", &hang.busy_maximum,
                      {seconds(1), hours(24)});
  for (auto number = static_cast<std::uint32_t>(Phase::kStartup);
       number <= static_cast<std::uint32_t>(Phase::kOther); ++number) {
    const auto phase = static_cast<Phase>(number);
    const std::string key =
        fmt::format("detect.hang.phase.{}", PhaseName(phase));
    Duration deadline{};
    if (!reader.ReadDuration(key, &deadline, {Duration(0), hours(24 * 7)})) {
      continue;
    }
    if (deadline == Duration::zero()) {
      hang.phase.erase(phase);
    } else if (deadline < seconds(1)) {
      reader.AddError(key,
                      fmt::format("'{}' must be 0 (part of the step) or at "
                                  "least 1s, found {}",
                                  key, FormatDuration(deadline)));
    } else {
      hang.phase[phase] = deadline;
    }
  }
}

void ReadDetect(ConfigReader& reader, DetectOptions& detect) {
  ReadHang(reader, detect.hang);
  SilenceOptions& node = detect.silence;
  // Below two heartbeats of the default pace a lost packet would do.
  reader.ReadDuration("detect.node.silent_after", &node.silent_after,
                      {seconds(1), hours(1)});
  reader.ReadDuration("detect.node.witness_minimum", &node.witness_minimum,
                      {milliseconds(100), hours(1)});
  reader.ReadDouble("detect.node.witness_steps", &node.witness_steps, {1, 100});
  reader.ReadDuration("detect.node.alone", &node.alone,
                      {seconds(5), hours(24)});
  reader.ReadDuration("detect.node.starting", &node.starting,
                      {seconds(3), hours(24)});
  reader.ReadDouble("detect.node.mass_share", &node.mass_share, {0.1, 1});
  reader.ReadDuration("detect.node.mass_page", &node.mass_page, kWait);
  reader.ReadDuration("detect.node.settle", &node.settle,
                      {seconds(1), hours(1)});
  reader.ReadDuration("detect.crash.early_exit_grace",
                      &detect.crash.early_exit_grace, {Duration(0), hours(1)});
  reader.ReadInt32("detect.nan.overflow_steps", &detect.nan.overflow_steps,
                   {0, 10'000});
}

void ReadTraining(ConfigReader& reader, DetectOptions& detect) {
  for (const TrainingKey& key : TrainingKeys(&detect)) {
    const std::string name = fmt::format("{}.{}", key.table, key.key);
    std::visit(
        [&](auto* value) {
          using T = std::remove_pointer_t<decltype(value)>;
          if constexpr (std::is_same_v<T, bool>) {
            reader.ReadBool(name, value);
          } else if constexpr (std::is_same_v<T, double>) {
            reader.ReadDouble(name, value, {key.low, key.high});
          } else if constexpr (std::is_same_v<T, std::int32_t>) {
            reader.ReadInt32(name, value,
                             {static_cast<std::int32_t>(key.low),
                              static_cast<std::int32_t>(key.high)});
          } else {
            reader.ReadInt(name, value,
                           {static_cast<std::int64_t>(key.low),
                            static_cast<std::int64_t>(key.high)});
          }
        },
        key.value);
  }
}

void ReadCheckpoint(ConfigReader& reader, Policy& policy) {
  CheckpointOptions& cadence = policy.detect.checkpoint;
  reader.ReadDuration("checkpoint.interval", &cadence.interval,
                      {Duration(0), hours(24 * 7)});
  // Saving more often than this is nothing but saving.
  if (cadence.interval > Duration::zero() && cadence.interval < seconds(1)) {
    reader.AddError("checkpoint.interval",
                    fmt::format("'checkpoint.interval' must be 0 (off) or at "
                                "least 1s, found {}",
                                FormatDuration(cadence.interval)));
  }
  reader.ReadInt("checkpoint.interval_steps", &cadence.interval_steps,
                 {0, 1'000'000'000});
  reader.ReadDouble("checkpoint.overdue_factor", &cadence.overdue_factor,
                    {1, 1000});
  SavePolicy& save = policy.save;
  reader.ReadInt("checkpoint.trust_steps", &save.trust_steps,
                 {0, 1'000'000'000});
  reader.ReadDuration("checkpoint.save_margin", &save.margin,
                      {milliseconds(100), hours(1)});
  reader.ReadInt32("checkpoint.save_attempts", &save.attempts, {1, 16});
}

void ReadTimeouts(ConfigReader& reader, TimeoutPolicy& timeouts) {
  reader.ReadDuration("timeouts.start", &timeouts.start,
                      {seconds(5), hours(24)});
  reader.ReadDuration("timeouts.stop", &timeouts.stop, {seconds(1), hours(24)});
  reader.ReadDuration("timeouts.stop_grace", &timeouts.stop_grace,
                      {Duration(0), minutes(10)});
  reader.ReadDuration("timeouts.pause_save", &timeouts.pause_save,
                      {seconds(1), hours(24)});
  reader.ReadDuration("timeouts.verify", &timeouts.verify,
                      {seconds(1), hours(24)});
}

}  // namespace

absl::StatusOr<Policy> ParsePolicy(std::string_view text, std::string file) {
  ConfigReader reader(text, std::move(file));
  Policy policy = DefaultPolicy();
  ReadKinds(reader, policy);
  ReadRestart(reader, policy);
  ReadDetect(reader, policy.detect);
  ReadTraining(reader, policy.detect);
  ReadCheckpoint(reader, policy);
  ReadTimeouts(reader, policy.timeouts);
  RETURN_IF_ERROR(reader.Finish());
  return policy;
}

}  // namespace steadyrun
