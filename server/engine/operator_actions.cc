#include "server/engine/operator_actions.h"

#include <fmt/format.h>

#include <utility>

#include "server/policy/policy_parser.h"

namespace steadyrun {
namespace {

// A run larger than this is a slip of the keyboard.
constexpr std::int32_t kMaxRunNodes = 100'000;
constexpr std::int32_t kMaxRanks = 1 << 20;

absl::Status CheckSpec(const RunSpec& spec) {
  if (spec.run.empty()) {
    return absl::InvalidArgumentError("the run has no name");
  }
  if (spec.argv.empty() || spec.argv[0].empty()) {
    return absl::InvalidArgumentError(fmt::format(
        "run {}: the command is empty; give the program to run", spec.run));
  }
  if (spec.nodes < 1 || spec.nodes > kMaxRunNodes) {
    return absl::InvalidArgumentError(
        fmt::format("run {}: nodes is {}, expected 1 to {}", spec.run,
                    spec.nodes, kMaxRunNodes));
  }
  if (spec.ranks_per_node < 1 || spec.ranks_per_node > kMaxRanks / spec.nodes) {
    return absl::InvalidArgumentError(
        fmt::format("run {}: ranks_per_node is {}, expected at least 1 and at "
                    "most {} ranks in all",
                    spec.run, spec.ranks_per_node, kMaxRanks));
  }
  if (spec.target_steps < 0) {
    return absl::InvalidArgumentError(
        fmt::format("run {}: target_steps is {}, expected 0 (unknown) or more",
                    spec.run, spec.target_steps));
  }
  return absl::OkStatus();
}

Order OrderOf(OperatorAction action) {
  switch (action) {
    case OperatorAction::kPause:
      return Order::kPause;
    case OperatorAction::kResume:
      return Order::kResume;
    case OperatorAction::kRestart:
      return Order::kRestart;
    case OperatorAction::kRollback:
      return Order::kRollback;
    case OperatorAction::kHold:
      return Order::kHold;
    case OperatorAction::kUnhold:
      return Order::kUnhold;
    case OperatorAction::kStop:
    case OperatorAction::kCheckpoint:
    case OperatorAction::kQuarantine:
    case OperatorAction::kRelease:
    case OperatorAction::kMute:
    case OperatorAction::kUnmute:
      return Order::kStop;
  }
  return Order::kStop;
}

// A click on a page that shows what is no longer so must not act on what is.
absl::Status CheckSeen(const ActionRequested& request, const RunState& state) {
  if (request.seen_attempt.has_value() &&
      *request.seen_attempt != state.attempt) {
    return absl::FailedPreconditionError(fmt::format(
        "run {}: nothing was done: it is at attempt {} now, and this was "
        "decided looking at attempt {}; look again, then decide",
        request.run, state.attempt.value, request.seen_attempt->value));
  }
  if (request.seen_incidents.has_value() &&
      *request.seen_incidents != state.incidents) {
    return absl::FailedPreconditionError(fmt::format(
        "run {}: nothing was done: it has had {} incidents by now, and this "
        "was decided looking at {}; look again, then decide",
        request.run, state.incidents, *request.seen_incidents));
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view OperatorActionName(OperatorAction action) {
  switch (action) {
    case OperatorAction::kCheckpoint:
      return "checkpoint";
    case OperatorAction::kPause:
      return "pause";
    case OperatorAction::kResume:
      return "resume";
    case OperatorAction::kRestart:
      return "restart";
    case OperatorAction::kRollback:
      return "rollback";
    case OperatorAction::kStop:
      return "stop";
    case OperatorAction::kQuarantine:
      return "quarantine";
    case OperatorAction::kRelease:
      return "release";
    case OperatorAction::kMute:
      return "mute";
    case OperatorAction::kUnmute:
      return "unmute";
    case OperatorAction::kHold:
      return "hold";
    case OperatorAction::kUnhold:
      return "unhold";
  }
  return "unknown";
}

bool OperatorActions::AnswerAgain(const std::string& request_id,
                                  std::uint64_t reply_to, Outcome* out) const {
  std::optional<ReplyToOperator> before = requests_.Find(request_id);
  if (!before.has_value()) return false;
  before->reply_to = reply_to;
  out->effects.push_back(*std::move(before));
  return true;
}

void OperatorActions::Answer(const absl::StatusOr<ReplyToOperator>& result,
                             const std::string& request_id,
                             std::uint64_t reply_to, AuditEntry entry,
                             Outcome* out) {
  ReplyToOperator reply;
  if (result.ok()) {
    reply = *result;
    entry.outcome = "accepted";
    out->changes.push_back(requests_.Add(request_id, reply));
  } else {
    reply.status = result.status();
    reply.run = entry.run;
    entry.outcome = "refused: " + std::string(std::string_view(
                                      result.status().message().data(),
                                      result.status().message().size()));
  }
  reply.reply_to = reply_to;
  entry.request_id = request_id;
  out->log.push_back(fmt::format(
      "run={} actor={} action={} outcome=\"{}\" reason=\"{}\"", entry.run,
      entry.actor, entry.action, entry.outcome, entry.reason));
  out->changes.push_back(std::move(entry));
  out->effects.push_back(std::move(reply));
}

void OperatorActions::Launch(const LaunchRequested& request, Now now,
                             Outcome* out) {
  if (AnswerAgain(request.request_id, request.reply_to, out)) return;
  AuditEntry entry;
  entry.at = now.wall;
  entry.actor = request.actor;
  entry.action = "launch";
  entry.run = request.spec.run;
  const absl::StatusOr<ReplyToOperator> result = TryLaunch(request, now, out);
  Answer(result, request.request_id, request.reply_to, std::move(entry), out);
}

absl::StatusOr<ReplyToOperator> OperatorActions::TryLaunch(
    const LaunchRequested& request, Now now, Outcome* out) {
  const RunSpec& spec = request.spec;
  if (absl::Status status = CheckSpec(spec); !status.ok()) return status;
  absl::StatusOr<Policy> policy =
      ParsePolicy(spec.policy_toml, spec.policy_file);
  if (!policy.ok()) return policy.status();
  RunState state;
  state.spec = spec;
  state.created = now.wall;
  state.accounted = now.wall;
  state.phase_since = now;
  state.phase_reason = fmt::format("launched by {}", request.actor);
  auto it = runs_->find(spec.run);
  if (it != runs_->end()) {
    const RunState& old = it->second->State();
    if (!IsEnded(old.phase)) {
      return absl::AlreadyExistsError(fmt::format(
          "run {} exists and is {}: stop it first, or choose another name",
          spec.run, RunPhaseName(old.phase)));
    }
    // The name is used again: numbers go on, so that nothing that is left of
    // the former run can be taken for the new one.
    state.attempt = old.attempt;
    state.incidents = old.incidents;
    state.save_seq = old.save_seq;
  }
  ForgetOldRuns();
  state.attempt = NextAttempt(state, core_.cluster->View(now));
  state.guard_from = state.attempt;
  state.first_attempt = state.attempt;
  (*runs_)[spec.run] = std::make_unique<RunController>(
      std::move(state), *std::move(policy), core_, /*is_restored=*/false, now);
  RunController& run = *(*runs_)[spec.run];
  run.Conclude(now, out);
  ReplyToOperator reply;
  reply.run = spec.run;
  reply.attempt = run.State().attempt;
  reply.message = fmt::format("run {} is launched: {}", spec.run,
                              RunPhaseName(run.State().phase));
  return reply;
}

// Ended runs stay visible, but not without bound; the store keeps them all.
void OperatorActions::ForgetOldRuns() {
  constexpr std::size_t kMaxRuns = 1000;
  while (runs_->size() >= kMaxRuns) {
    auto oldest = runs_->end();
    for (auto it = runs_->begin(); it != runs_->end(); ++it) {
      const RunState& state = it->second->State();
      if (!IsEnded(state.phase)) continue;
      if (oldest == runs_->end() ||
          state.ended < oldest->second->State().ended) {
        oldest = it;
      }
    }
    if (oldest == runs_->end()) return;  // All live: refused by nobody.
    runs_->erase(oldest);
  }
}

void OperatorActions::Act(const ActionRequested& request, Now now,
                          Outcome* out) {
  if (AnswerAgain(request.request_id, request.reply_to, out)) return;
  AuditEntry entry;
  entry.at = now.wall;
  entry.actor = request.actor;
  entry.action = std::string(OperatorActionName(request.action));
  entry.run = request.run;
  entry.reason = request.reason;
  if (request.action == OperatorAction::kRollback) {
    entry.action += fmt::format(" to step {}", request.step.value);
  }
  if (!request.node.empty()) entry.action += " " + request.node;
  const absl::StatusOr<ReplyToOperator> result = TryAct(request, now, out);
  Answer(result, request.request_id, request.reply_to, std::move(entry), out);
}

absl::StatusOr<ReplyToOperator> OperatorActions::TryAct(
    const ActionRequested& request, Now now, Outcome* out) {
  if (request.reason.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{} needs a reason: it is written to the audit trail",
                    OperatorActionName(request.action)));
  }
  if (request.action == OperatorAction::kQuarantine ||
      request.action == OperatorAction::kRelease) {
    return SetQuarantine(request,
                         request.action == OperatorAction::kQuarantine);
  }
  auto it = runs_->find(request.run);
  if (it == runs_->end()) {
    return absl::NotFoundError(fmt::format(
        "run {} is unknown; `steadyrun runs` lists them", request.run));
  }
  if (request.action == OperatorAction::kMute ||
      request.action == OperatorAction::kUnmute) {
    return SetMute(request, now, out);
  }
  RunController& run = *it->second;
  if (absl::Status status = CheckSeen(request, run.State()); !status.ok()) {
    return status;
  }
  ReplyToOperator reply;
  reply.run = request.run;
  if (request.action == OperatorAction::kCheckpoint) {
    const absl::StatusOr<Step> step = run.OnCheckpointOrdered(
        request.request_id,
        fmt::format("by {}: {}", request.actor, request.reason), now, out);
    if (!step.ok()) return step.status();
    run.Conclude(now, out);
    reply.step = *step;
    reply.message =
        fmt::format("all ranks save at the end of step {}", step->value);
    reply.attempt = run.State().attempt;
    return reply;
  }
  OperatorOrdered order;
  order.order = OrderOf(request.action);
  order.actor = request.actor;
  order.reason = request.reason;
  order.request_id = request.request_id;
  order.step = request.step;
  const Advanced advanced = run.OnOrder(std::move(order), now, out);
  if (!advanced.status.ok()) {
    return absl::FailedPreconditionError(
        fmt::format("run {}: {}", request.run, advanced.reason));
  }
  run.Conclude(now, out);
  reply.attempt = run.State().attempt;
  reply.step = run.State().save_step.value_or(kNoStep);
  reply.message = advanced.reason;
  return reply;
}

ReplyToOperator OperatorActions::SetMute(const ActionRequested& request,
                                         Now now, Outcome* out) {
  const bool is_on = request.action == OperatorAction::kMute;
  const auto length =
      std::chrono::duration_cast<std::chrono::milliseconds>(request.duration);
  out->changes.push_back(Mute{request.run,
                              now.wall + (is_on ? length : length.zero()),
                              request.actor, request.reason});
  ReplyToOperator reply;
  reply.run = request.run;
  reply.message =
      is_on ? fmt::format(
                  "nobody is notified of run {} for {:.0f} min; the log, the "
                  "metrics and Alertmanager go on",
                  request.run, ToSeconds(request.duration) / 60)
            : fmt::format("notifications of run {} go out again", request.run);
  return reply;
}

absl::StatusOr<ReplyToOperator> OperatorActions::SetQuarantine(
    const ActionRequested& request, bool is_quarantined) {
  NodeEntry* node = core_.sessions->FindNode(request.node);
  if (node == nullptr) {
    return absl::NotFoundError(fmt::format(
        "node '{}' is unknown; `steadyrun nodes` lists them", request.node));
  }
  NodeRecord& record = node->record;
  record.is_quarantined = is_quarantined;
  record.quarantine_reason =
      is_quarantined ? fmt::format("by {}: {}", request.actor, request.reason)
                     : "";
  // Released with a clean sheet, or the next loss would send it back at once.
  if (!is_quarantined) record.blamed.clear();
  core_.sessions->NoteRecordDue(node);
  ReplyToOperator reply;
  reply.run = request.run;
  reply.message =
      is_quarantined
          ? fmt::format("{} is not used by later attempts", request.node)
          : fmt::format("{} may be used again", request.node);
  return reply;
}

}  // namespace steadyrun
