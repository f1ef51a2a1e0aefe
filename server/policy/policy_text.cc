#include "server/policy/policy_text.h"

#include <spdlog/fmt/fmt.h>

#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/config_reader.h"
#include "server/policy/training_keys.h"

namespace steadyrun {
namespace {

// Appends lines of TOML; a comment stands above what it explains.
class Writer {
 public:
  void Comment(std::string_view text) { text_ += fmt::format("# {}\n", text); }
  void Table(std::string_view name, std::string_view comment) {
    text_ += '\n';
    Comment(comment);
    text_ += fmt::format("[{}]\n", name);
  }
  void Value(std::string_view key, Duration value,
             std::string_view comment = {}) {
    Line(key, fmt::format("\"{}\"", FormatDuration(value)), comment);
  }
  void Value(std::string_view key, std::int64_t value,
             std::string_view comment = {}) {
    Line(key, fmt::format("{}", value), comment);
  }
  void Value(std::string_view key, double value,
             std::string_view comment = {}) {
    Line(key, fmt::format("{}", value), comment);
  }
  void Value(std::string_view key, bool value, std::string_view comment = {}) {
    Line(key, value ? "true" : "false", comment);
  }
  void Word(std::string_view key, std::string_view value,
            std::string_view comment = {}) {
    Line(key, fmt::format("\"{}\"", value), comment);
  }
  void List(std::string_view key, const std::vector<std::string>& words,
            std::string_view comment = {}) {
    std::string list;
    for (const std::string& word : words) {
      list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", word);
    }
    Line(key, fmt::format("[{}]", list), comment);
  }
  std::string Take() { return std::move(text_); }

 private:
  void Line(std::string_view key, std::string value, std::string_view comment) {
    const std::string line = fmt::format("{} = {}", key, value);
    text_ += comment.empty() ? fmt::format("{}\n", line)
                             : fmt::format("{:<34} # {}\n", line, comment);
  }

  std::string text_;
};

void WriteKinds(const Policy& policy, Writer& out) {
  for (std::size_t i = 0; i < kIncidentKinds; ++i) {
    const auto kind = static_cast<IncidentKind>(i);
    const KindPolicy& of = policy.For(kind);
    out.Table(fmt::format("incident.{}", IncidentKindName(kind)),
              fmt::format("See docs/runbooks/{}.md.", IncidentKindName(kind)));
    out.Word("mode", ModeName(of.mode));
    std::vector<std::string> ladder;
    for (const Remedy remedy : of.ladder) {
      ladder.emplace_back(RemedyName(remedy));
    }
    out.List("ladder", ladder);
    out.Value("cooldown", of.cooldown);
  }
}

void WriteRestart(const Policy& policy, Writer& out) {
  const RestartPolicy& restart = policy.restart;
  out.Table("restart",
            "Bounds on automatic restarts; operators' own are not counted.");
  out.Value("per_hour", std::int64_t{restart.restarts_per_hour},
            "rolling; reached: the run halts");
  out.Value("per_day", std::int64_t{restart.restarts_per_day});
  out.Value("same_failure_limit", std::int64_t{restart.same_failure_limit},
            "equal failures at one step: halt");
  out.Value("same_failure_steps", restart.same_failure_steps,
            "two steps this near count as one");
  out.Value("no_progress_limit", std::int64_t{restart.no_progress_limit},
            "restarts without a new step; the next failure halts");
  std::vector<std::string> backoff;
  for (const Duration wait : restart.backoff) {
    backoff.push_back(FormatDuration(wait));
  }
  out.List("backoff", backoff,
           "before the n-th restart without progress; the last repeats");

  const QuarantinePolicy& quarantine = policy.quarantine;
  out.Table("quarantine", "Nodes that later attempts do not use.");
  out.Value("blamed_limit", std::int64_t{quarantine.blamed_limit},
            "times culprit; 0: never quarantine");
  out.Value("blamed_within", quarantine.blamed_within);
  out.Value("use_as_last_resort", quarantine.use_as_last_resort,
            "rather than let the run stand still");
}

void WriteDetect(const DetectOptions& detect, Writer& out) {
  const HangOptions& hang = detect.hang;
  out.Table("detect.hang",
            "No rank advances: deadline of a step, from its recent times.");
  out.Value("timeout", hang.minimum, "at least; shorter: pauses become hangs");
  out.Value("timeout_max", hang.maximum, "at most");
  out.Value("factor", hang.factor, "times the 99 % quantile of step times");
  out.Value("warm_up", hang.warm_up, "at least, in the first steps");
  out.Value("stopped", hang.stopped, "when a process is in state T");
  out.Value("busy_factor", hang.busy_factor,
            "longer while every rank computes");
  out.Value("busy_max", hang.busy_maximum, "but not beyond this");
  out.Table(
      "detect.hang.phase",
      "Deadlines of declared phases. A phase not listed, or 0, is part "
      "of the step;\n# rollout, reward, reference, weight_sync and the "
      "training of an RL run learn\n# their own, unless they are listed.");
  for (const auto& [phase, deadline] : hang.phase) {
    out.Value(PhaseName(phase), deadline);
  }
  for (const auto& [phase, deadline] : HangOptions().phase) {
    if (!hang.phase.contains(phase)) out.Value(PhaseName(phase), Duration(0));
  }

  const SilenceOptions& node = detect.silence;
  out.Table("detect.node", "When a silent node is lost.");
  out.Value("silent_after", node.silent_after, "without a heartbeat");
  out.Value("witness_minimum", node.witness_minimum,
            "the other ranks stand still for this");
  out.Value("witness_steps", node.witness_steps,
            "or for so many median steps, if longer");
  out.Value("alone", node.alone, "lost without a second witness");
  out.Value("starting", node.starting, "lost before the first step");
  out.Value("mass_share", node.mass_share,
            "more silent than this: suspect the network, do nothing");
  out.Value("mass_page", node.mass_page, "then tell a person after this");
  out.Value("settle", node.settle, "no verdict so soon after a start or stall");

  out.Table("detect.crash", "How ranks end.");
  out.Value("early_exit_grace", detect.crash.early_exit_grace,
            "for the others after a rank's exit code 0");
  out.Table("detect.nan", "Losses and gradient norms that are not finite.");
  out.Value("overflow_steps", std::int64_t{detect.nan.overflow_steps},
            "skipped steps in a row under loss scaling");
}

void WriteTraining(DetectOptions detect, Writer& out) {
  for (const TrainingKey& key : TrainingKeys(&detect)) {
    if (!key.title.empty()) out.Table(key.table, key.title);
    std::visit(
        [&](const auto* value) {
          if constexpr (std::is_same_v<decltype(value), const std::int32_t*>) {
            out.Value(key.key, std::int64_t{*value}, key.comment);
          } else {
            out.Value(key.key, *value, key.comment);
          }
        },
        key.value);
  }
}

void WriteCheckpoint(const Policy& policy, Writer& out) {
  const CheckpointOptions& cadence = policy.detect.checkpoint;
  out.Table("checkpoint",
            "0 and 0: the trainer saves by itself, the service only watches.");
  out.Value("interval", cadence.interval, "the service orders a save");
  out.Value("interval_steps", cadence.interval_steps,
            "whichever of the two comes first");
  out.Value("overdue_factor", cadence.overdue_factor,
            "intervals without one: an incident");
  out.Value("trust_steps", policy.save.trust_steps,
            "healthy steps that make it trusted");
  out.Value("save_margin", policy.save.margin,
            "how far ahead of all ranks a save is agreed");
  out.Value("save_attempts", std::int64_t{policy.save.attempts});

  const TimeoutPolicy& timeouts = policy.timeouts;
  out.Table("timeouts", "Of the recovery.");
  out.Value("start", timeouts.start, "from the order to the first step");
  out.Value("stop", timeouts.stop, "then page; never start without proof");
  out.Value("stop_grace", timeouts.stop_grace, "between SIGTERM and SIGKILL");
  out.Value("pause_save", timeouts.pause_save, "then pause without a save");
  out.Value("verify", timeouts.verify, "to re-read what is resumed from");
}

}  // namespace

std::string RenderPolicy(const Policy& policy) {
  Writer out;
  out.Comment("Policy of a run: what Steadyrun may do by itself. Every key is");
  out.Comment(
      "optional. Durations: \"500ms\", \"10s\", \"2m\", \"1h30m\", or "
      "seconds.");
  out.Comment("Modes: observe (record), advise (record what it would do and");
  out.Comment("page), act. Ladders: the n-th failure without progress takes");
  out.Comment("rung n, the last rung repeats until a limit halts the run.");
  WriteKinds(policy, out);
  WriteRestart(policy, out);
  WriteDetect(policy.detect, out);
  WriteTraining(policy.detect, out);
  WriteCheckpoint(policy, out);
  return out.Take();
}

}  // namespace steadyrun
