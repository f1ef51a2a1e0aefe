#include "server/rpc/operator_convert.h"

#include <unistd.h>

#include <algorithm>
#include <limits>

#include "absl/strings/ascii.h"
#include "base/status_macros.h"
#include "proto/messages/checks.h"
#include "proto/messages/convert.h"
#include "proto/messages/log_format.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

using checks::Bad;
using checks::In;
using checks::InRange;

constexpr std::size_t kMaxReasonBytes = 1024;
constexpr std::size_t kMaxArguments = 4096;
constexpr std::size_t kMaxArgumentBytes = 128 << 10;
constexpr std::size_t kMaxPolicyBytes = 256 << 10;
constexpr std::int64_t kMaxNodes = 1 << 16;
// A mute that outlives whoever set it is a fault nobody hears of.
constexpr std::int64_t kMaxMuteSeconds = 30 * 86400;

// 0 for a time that is not set.
std::int64_t UnixMillis(WallTime time) {
  return std::max<std::int64_t>(ToUnixMillis(time), 0);
}

absl::Status CheckCaller(std::string_view request_id, std::string_view actor) {
  RETURN_IF_ERROR(checks::Identifier("request_id", request_id));
  return checks::Text("actor", actor, 128);
}

absl::Status CheckSpec(const v1::RunSpec& spec) {
  RETURN_IF_ERROR(checks::Name("run", spec.run()));
  if (spec.argv_size() == 0 || spec.argv(0).empty()) {
    return Bad("argv", "no program", "the command of one rank");
  }
  RETURN_IF_ERROR(checks::CountAtMost("argv", spec.argv_size(), kMaxArguments));
  for (const std::string& word : spec.argv()) {
    RETURN_IF_ERROR(checks::NoNul("argv", word, kMaxArgumentBytes));
  }
  constexpr std::string_view kForbidden("=\0", 2);
  for (const auto& [name, value] : spec.environment()) {
    if (name.empty() || name.find_first_of(kForbidden) != std::string::npos) {
      return Bad("environment", "a name that is empty or holds '='",
                 "NAME=VALUE");
    }
    RETURN_IF_ERROR(checks::NoNul("environment", value, kMaxArgumentBytes));
  }
  RETURN_IF_ERROR(InRange("nodes", spec.nodes(), 1, kMaxNodes));
  RETURN_IF_ERROR(
      InRange("ranks_per_node", spec.ranks_per_node(), 1, kMaxRanksPerNode));
  RETURN_IF_ERROR(InRange("nodes * ranks_per_node",
                          std::int64_t{spec.nodes()} * spec.ranks_per_node(), 1,
                          checks::kMaxRank + 1));
  RETURN_IF_ERROR(
      InRange("target_steps", spec.target_steps(), 0, checks::kMaxStep));
  if (!spec.working_directory().empty()) {
    RETURN_IF_ERROR(
        checks::Path("working_directory", spec.working_directory()));
  }
  if (!spec.checkpoint_directory().empty()) {
    RETURN_IF_ERROR(
        checks::Path("checkpoint_directory", spec.checkpoint_directory()));
  }
  RETURN_IF_ERROR(
      checks::Text("policy_toml", spec.policy_toml(), kMaxPolicyBytes));
  RETURN_IF_ERROR(
      checks::Text("policy_file", spec.policy_file(), checks::kMaxPathBytes));
  RETURN_IF_ERROR(checks::Text("log_format", spec.log_format(), 64));
  if (!spec.log_path().empty()) {
    RETURN_IF_ERROR(checks::Path("log_path", spec.log_path()));
  }
  return CheckLogSource(spec.log_format(), spec.log_path());
}

bool LooksSecret(std::string_view name) {
  const std::string lower =
      absl::AsciiStrToLower(std::string(name.substr(0, 256)));
  for (const char* word :
       {"token", "secret", "password", "passwd", "credential", "api_key",
        "apikey", "authorization", "private_key"}) {
    if (lower.find(word) != std::string::npos) return true;
  }
  return lower.substr(0, 3) == "hf_";
}

void WriteSpec(const RunSpec& spec, v1::RunSpec* proto) {
  proto->set_run(spec.run);
  proto->mutable_argv()->Assign(spec.argv.begin(), spec.argv.end());
  proto->set_working_directory(spec.working_directory);
  for (const auto& [name, value] : spec.environment) {
    (*proto->mutable_environment())[name] = LooksSecret(name) ? "***" : value;
  }
  proto->set_nodes(spec.nodes);
  proto->set_ranks_per_node(spec.ranks_per_node);
  proto->set_checkpoint_directory(spec.checkpoint_directory);
  proto->set_target_steps(spec.target_steps);
  proto->set_policy_toml(spec.policy_toml);
  proto->set_policy_file(spec.policy_file);
  proto->set_log_format(spec.log_format);
  proto->set_log_path(spec.log_path);
}

absl::StatusOr<OperatorAction> ReadOperatorAction(v1::Action action) {
  switch (action) {
    case v1::ACTION_CHECKPOINT:
      return OperatorAction::kCheckpoint;
    case v1::ACTION_PAUSE:
      return OperatorAction::kPause;
    case v1::ACTION_RESUME:
      return OperatorAction::kResume;
    case v1::ACTION_RESTART:
      return OperatorAction::kRestart;
    case v1::ACTION_ROLLBACK:
      return OperatorAction::kRollback;
    case v1::ACTION_STOP:
      return OperatorAction::kStop;
    case v1::ACTION_QUARANTINE:
      return OperatorAction::kQuarantine;
    case v1::ACTION_RELEASE:
      return OperatorAction::kRelease;
    case v1::ACTION_MUTE:
      return OperatorAction::kMute;
    case v1::ACTION_UNMUTE:
      return OperatorAction::kUnmute;
    case v1::ACTION_HOLD:
      return OperatorAction::kHold;
    case v1::ACTION_UNHOLD:
      return OperatorAction::kUnhold;
    default:
      return Bad("action", fmt::format("{}", static_cast<int>(action)),
                 "checkpoint, pause, resume, restart, rollback, stop, "
                 "quarantine, release, mute, unmute, hold or unhold");
  }
}

bool ConcernsNode(OperatorAction action) {
  return action == OperatorAction::kQuarantine ||
         action == OperatorAction::kRelease;
}

}  // namespace

absl::StatusOr<LaunchRequested> ReadLaunch(const v1::LaunchRequest& request) {
  RETURN_IF_ERROR(CheckCaller(request.request_id(), request.actor()));
  const v1::RunSpec& spec = request.spec();
  if (auto status = CheckSpec(spec); !status.ok()) return In("spec", status);
  LaunchRequested launch;
  launch.request_id = request.request_id();
  launch.spec.run = spec.run();
  launch.spec.argv.assign(spec.argv().begin(), spec.argv().end());
  launch.spec.working_directory = spec.working_directory();
  launch.spec.environment.insert(spec.environment().begin(),
                                 spec.environment().end());
  launch.spec.nodes = spec.nodes();
  launch.spec.ranks_per_node = spec.ranks_per_node();
  launch.spec.checkpoint_directory = spec.checkpoint_directory();
  launch.spec.target_steps = spec.target_steps();
  launch.spec.policy_toml = spec.policy_toml();
  launch.spec.policy_file = spec.policy_file();
  launch.spec.log_format = spec.log_format();
  launch.spec.log_path = spec.log_path();
  return launch;
}

absl::StatusOr<ActionRequested> ReadAction(const v1::ActionRequest& request) {
  RETURN_IF_ERROR(CheckCaller(request.request_id(), request.actor()));
  ActionRequested action;
  ASSIGN_OR_RETURN(action.action, ReadOperatorAction(request.action()));
  if (ConcernsNode(action.action)) {
    RETURN_IF_ERROR(checks::Name("node", request.node()));
  } else {
    RETURN_IF_ERROR(checks::Name("run", request.run()));
  }
  if (absl::StripAsciiWhitespace(request.reason()).empty()) {
    return Bad("reason", "nothing", "why this is done, for the audit table");
  }
  RETURN_IF_ERROR(checks::Text("reason", request.reason(), kMaxReasonBytes));
  if (action.action == OperatorAction::kRollback) {
    RETURN_IF_ERROR(InRange("step", request.step(), 0, checks::kMaxStep));
    action.step = {request.step()};
  }
  if (action.action == OperatorAction::kMute) {
    RETURN_IF_ERROR(
        InRange("mute_seconds", request.mute_seconds(), 60, kMaxMuteSeconds));
    action.duration = std::chrono::seconds(request.mute_seconds());
  }
  action.request_id = request.request_id();
  action.run = request.run();
  action.reason = request.reason();
  action.node = request.node();
  RETURN_IF_ERROR(
      InRange("seen_attempt", request.seen_attempt(), 0, checks::kMaxAttempt));
  RETURN_IF_ERROR(InRange("seen_incidents", request.seen_incidents(), 0,
                          checks::kMaxAttempt));
  if (request.seen_attempt() > 0) {
    action.seen_attempt = AttemptId{request.seen_attempt()};
  }
  if (request.seen_incidents() > 0) {
    action.seen_incidents = request.seen_incidents() - 1;
  }
  return action;
}

void WriteRun(const RunView& view, v1::RunView* proto) {
  const RunState& state = view.state;
  WriteSpec(state.spec, proto->mutable_spec());
  proto->set_phase(std::string(RunPhaseName(state.phase)));
  proto->set_phase_reason(CleanText(state.phase_reason));
  proto->set_attempt(state.attempt.value);
  proto->set_step(state.attempt_step.value);
  proto->set_max_step(state.max_step.value);
  proto->set_loss(view.loss);
  proto->set_grad_norm(view.grad_norm);
  proto->set_step_seconds(view.step_seconds);
  proto->set_tokens_per_second(view.tokens_per_second);
  proto->set_open_incidents(view.open_incidents);
  proto->set_incidents(static_cast<std::int32_t>(
      std::min<std::int64_t>(state.incidents, INT32_MAX)));
  proto->set_checkpoint_step(view.checkpoint_step.value);
  proto->set_created_unix_ms(UnixMillis(state.created));
  proto->set_ended_unix_ms(UnixMillis(state.ended));
  proto->set_ranks_alive(view.ranks_alive);
  proto->set_world_size(state.spec.WorldSize());
  proto->set_progress_age_seconds(ToSeconds(view.progress_age));
  for (const NodeAssignment& assignment : state.placement) {
    v1::Assignment* out = proto->add_placement();
    out->set_node(assignment.node);
    out->set_node_rank(assignment.node_rank);
    const std::int32_t per_node = state.spec.ranks_per_node;
    for (std::int32_t i = 0; i < per_node; ++i) {
      out->add_ranks(assignment.node_rank * per_node + i);
    }
  }
  proto->set_verdict(CleanText(view.verdict));
  proto->set_why(CleanText(view.why));
  proto->set_next(CleanText(view.next));
  proto->set_restarts_left(view.restarts_left);
  proto->set_phase_since_unix_ms(UnixMillis(state.phase_since.wall));
  for (const float loss : view.loss_line) proto->add_loss_line(loss);
  proto->set_goodput(view.goodput);
  proto->set_goodput_seconds(ToSeconds(view.goodput_over));
  proto->set_policy_mode(view.policy_mode);
  proto->set_is_held(state.is_held);
  proto->set_hold_reason(CleanText(state.hold_reason));
}

RunView ViewOfEnded(const RunState& state) {
  RunView view;
  view.state = state;
  view.loss = std::numeric_limits<double>::quiet_NaN();
  view.grad_norm = std::numeric_limits<double>::quiet_NaN();
  view.verdict =
      fmt::format("{}: {}", RunPhaseName(state.phase), state.phase_reason);
  return view;
}

void WriteNode(const NodeView& view, v1::NodeView* proto) {
  ToProto(view.state, proto->mutable_state());
  proto->set_status(view.status);
  proto->set_heard_age_seconds(ToSeconds(view.heard_age));
  proto->set_serving_run(view.serving_run);
  proto->set_quarantine_reason(view.quarantine_reason);
  proto->set_incidents(view.incidents);
}

void WriteIncident(const Incident& incident, v1::Incident* proto) {
  proto->set_id(incident.Id());
  proto->set_run(incident.run);
  proto->set_kind(std::string(IncidentKindName(incident.kind)));
  proto->set_severity(std::string(SeverityName(incident.severity)));
  proto->set_attempt(incident.attempt.value);
  proto->mutable_culprit()->set_node(incident.culprit.node);
  proto->mutable_culprit()->set_rank(incident.culprit.rank.value);
  proto->set_step(incident.step.value);
  proto->set_onset_unix_ms(UnixMillis(incident.onset));
  proto->set_detected_unix_ms(UnixMillis(incident.detected));
  proto->set_recovered_unix_ms(UnixMillis(incident.recovered));
  proto->set_detection_seconds(ToSeconds(incident.detection_time));
  proto->set_recovery_seconds(ToSeconds(incident.recovery_time));
  proto->set_steps_lost(incident.steps_lost);
  proto->set_remediation(incident.remediation);
  proto->set_reason(CleanText(incident.reason));
  for (const std::string& line : incident.evidence) {
    proto->add_evidence(CleanText(line));
  }
  for (const TimelineEntry& entry : incident.timeline) {
    v1::TimelineEntry* out = proto->add_timeline();
    out->set_unix_ms(UnixMillis(entry.at));
    out->set_text(CleanText(entry.text));
  }
  proto->set_state(std::string(IncidentStateName(incident.state)));
  proto->set_signature(CleanText(incident.signature));
  if (!IsTrainingKind(incident.kind)) return;
  proto->set_detector(incident.detector);
  proto->set_onset_step(incident.onset_step.value);
  proto->set_advice(std::string(AdviceName(incident.advice)));
}

void WriteCheckpoint(const Checkpoint& checkpoint, v1::Checkpoint* proto) {
  proto->set_run(checkpoint.run);
  proto->set_attempt(checkpoint.attempt.value);
  proto->set_step(checkpoint.step.value);
  proto->set_state(std::string(CheckpointStateName(checkpoint.state)));
  proto->set_reason(CleanText(checkpoint.reason));
  for (const auto& [rank, shard] : checkpoint.shards) {
    ToProto(shard, proto->add_shards());
  }
  proto->set_size_bytes(checkpoint.SizeBytes());
  proto->set_saved_unix_ms(UnixMillis(checkpoint.saved));
  proto->set_save_seconds(checkpoint.save_seconds);
}

void WriteEvent(const StoredEvent& event, v1::Event* proto) {
  proto->set_seq(event.seq);
  proto->set_unix_ms(UnixMillis(event.at));
  proto->set_kind(event.kind);
  proto->set_run(event.run);
  if (event.incident > 0) {
    proto->set_incident(fmt::format("{}:{}", event.run, event.incident));
  }
  proto->set_state(event.state);
  proto->set_severity(event.severity);
  proto->set_text(CleanText(event.text));
}

void WriteAudit(const StoredAudit& audit, v1::AuditEntry* proto) {
  proto->set_seq(audit.seq);
  proto->set_unix_ms(UnixMillis(audit.entry.at));
  proto->set_actor(audit.entry.actor);
  proto->set_action(audit.entry.action);
  proto->set_run(audit.entry.run);
  proto->set_reason(CleanText(audit.entry.reason));
  proto->set_outcome(CleanText(audit.entry.outcome));
  proto->set_request_id(audit.entry.request_id);
  proto->set_hash(audit.hash);
}

void WriteSteps(const std::vector<StepBucket>& buckets, v1::StepSeries* proto) {
  for (const StepBucket& bucket : buckets) {
    proto->add_step(bucket.last.value);
    proto->add_attempt(bucket.attempt.value);
    proto->add_loss(bucket.loss);
    proto->add_loss_min(bucket.loss_min);
    proto->add_loss_max(bucket.loss_max);
    proto->add_nonfinite_steps(bucket.nonfinite);
    proto->add_grad_norm(bucket.grad_norm);
    proto->add_step_seconds(bucket.step_seconds);
    proto->add_step_seconds_max(bucket.step_seconds_max);
    proto->add_slowest_rank(bucket.slowest_rank);
  }
}

void WriteReport(const StabilityReport& report, v1::StabilityReport* proto) {
  proto->set_run(report.run);
  proto->set_steps_completed(report.steps_completed);
  proto->set_attempts(report.attempts);
  proto->set_wall_seconds(report.wall_seconds);
  proto->set_productive_seconds(report.productive_seconds);
  proto->set_ettr(report.ettr);
  proto->set_mtbf_seconds(report.mtbf_seconds);
  proto->set_mttr_seconds(report.mttr_seconds);
  for (const auto& [cause, seconds] : report.lost_seconds) {
    (*proto->mutable_lost_seconds())[cause] = seconds;
  }
  for (const Incident& incident : report.incidents) {
    WriteIncident(incident, proto->add_incidents());
  }
  for (const Checkpoint& checkpoint : report.checkpoints) {
    WriteCheckpoint(checkpoint, proto->add_checkpoints());
  }
  proto->set_final_parameters_sha256(report.final_parameters_sha256);
  proto->set_phase(std::string(RunPhaseName(report.phase)));
  proto->set_target_steps(report.target_steps);
  proto->set_failures(static_cast<std::int32_t>(
      std::min<std::int64_t>(report.failures, INT32_MAX)));
  constexpr std::size_t kMaxRendered = 16 << 20;
  proto->set_text(CleanText(RenderReportText(report), kMaxRendered));
  proto->set_json(CleanText(RenderReportJson(report), kMaxRendered));
}

void WriteServer(const ServiceStatus& status, std::size_t sessions,
                 v1::ServerInfo* proto) {
  proto->set_version(status.version);
  proto->set_server_epoch(status.server_epoch);
  proto->set_server_id(status.server_id);
  proto->set_started_unix_ms(UnixMillis(status.started));
  proto->set_storage_ok(status.storage_ok);
  proto->set_storage_error(status.storage_error);
  proto->set_schema_version(status.schema_version);
  proto->set_agents_connected(static_cast<std::int32_t>(sessions));
  proto->set_http_address(status.http_address);
  proto->set_database(status.database);
  proto->set_pid(::getpid());
  proto->set_queue_depth(status.queue_depth);
  proto->set_queue_refused(status.queue_refused);
  for (const NotificationStatus& one : status.notifications) {
    auto* sink = proto->add_notifications();
    sink->set_sink(one.sink);
    sink->set_delivered(one.delivered);
    sink->set_failed(one.failed);
    sink->set_dropped(one.dropped);
    sink->set_error(CleanText(one.error));
  }
}

}  // namespace steadyrun
