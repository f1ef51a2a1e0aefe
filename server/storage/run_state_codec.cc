#include "server/storage/state_codec.h"
#include "server/storage/stored_name.h"
#include "steadyrun/v1/storage.pb.h"

namespace steadyrun {
namespace {

std::string_view AfterStopName(AfterStop after) {
  switch (after) {
    case AfterStop::kRestart:
      return "restart";
    case AfterStop::kPause:
      return "pause";
    case AfterStop::kHalt:
      return "halt";
    case AfterStop::kEnd:
      return "end";
  }
  return "unknown";
}

void EncodeSpec(const RunSpec& spec, v1::StoredRunSpec* out) {
  out->set_run(spec.run);
  for (const std::string& arg : spec.argv) out->add_argv(arg);
  out->set_working_directory(spec.working_directory);
  out->mutable_environment()->insert(spec.environment.begin(),
                                     spec.environment.end());
  out->set_nodes(spec.nodes);
  out->set_ranks_per_node(spec.ranks_per_node);
  out->set_checkpoint_directory(spec.checkpoint_directory);
  out->set_target_steps(spec.target_steps);
  out->set_policy_toml(spec.policy_toml);
  out->set_policy_file(spec.policy_file);
  out->set_log_format(spec.log_format);
  out->set_log_path(spec.log_path);
}

RunSpec DecodeSpec(const v1::StoredRunSpec& in) {
  RunSpec spec;
  spec.run = in.run();
  spec.argv.assign(in.argv().begin(), in.argv().end());
  spec.working_directory = in.working_directory();
  spec.environment.insert(in.environment().begin(), in.environment().end());
  spec.nodes = in.nodes();
  spec.ranks_per_node = in.ranks_per_node();
  spec.checkpoint_directory = in.checkpoint_directory();
  spec.target_steps = in.target_steps();
  spec.policy_toml = in.policy_toml();
  spec.policy_file = in.policy_file();
  spec.log_format = in.log_format();
  spec.log_path = in.log_path();
  return spec;
}

void EncodePlacement(const std::vector<NodeAssignment>& placement,
                     v1::StoredRunState* out) {
  for (const NodeAssignment& assignment : placement) {
    v1::StoredAssignment* stored = out->add_placement();
    stored->set_node(assignment.node);
    stored->set_node_rank(assignment.node_rank);
    stored->set_boot_id(assignment.boot_id);
    stored->set_proof(std::string(StopProofName(assignment.proof)));
  }
}

absl::Status DecodePlacement(const v1::StoredRunState& in, RunState* state) {
  for (const v1::StoredAssignment& stored : in.placement()) {
    NodeAssignment assignment;
    assignment.node = stored.node();
    assignment.node_rank = stored.node_rank();
    assignment.boot_id = stored.boot_id();
    ASSIGN_OR_RETURN(
        assignment.proof,
        ParseStoredName(stored.proof(), StopProof::kFenced, StopProofName));
    state->placement.push_back(std::move(assignment));
  }
  return absl::OkStatus();
}

void EncodeRestarts(const RunState& state, MonoTime now,
                    v1::StoredRunState* out) {
  for (const RestartRecord& restart : state.restarts) {
    v1::StoredRestart* stored = out->add_restarts();
    stored->set_at_unix_ms(ToUnixMillis(restart.at));
    stored->set_at_age_ns((now - restart.at_mono).count());
    stored->set_attempt(restart.attempt.value);
    stored->set_kind(std::string(IncidentKindName(restart.kind)));
    stored->set_signature(restart.signature);
    stored->set_step(restart.step.value);
    stored->set_made_progress(restart.made_progress);
    stored->set_rolled_back(restart.rolled_back);
  }
}

absl::Status DecodeRestarts(const v1::StoredRunState& in, MonoTime now,
                            RunState* state) {
  for (const v1::StoredRestart& stored : in.restarts()) {
    RestartRecord restart;
    restart.at = FromUnixMillis(stored.at_unix_ms());
    restart.at_mono = now - Duration(stored.at_age_ns());
    restart.attempt = AttemptId{stored.attempt()};
    ASSIGN_OR_RETURN(
        restart.kind,
        ParseStoredName(stored.kind(), kLastIncidentKind, IncidentKindName));
    restart.signature = stored.signature();
    restart.step = Step{stored.step()};
    restart.made_progress = stored.made_progress();
    restart.rolled_back = stored.rolled_back();
    state->restarts.push_back(std::move(restart));
  }
  return absl::OkStatus();
}

void EncodePhase(const RunState& state, MonoTime now, v1::StoredRunState* out) {
  out->set_phase(std::string(RunPhaseName(state.phase)));
  out->set_phase_reason(state.phase_reason);
  out->set_phase_since_unix_ms(ToUnixMillis(state.phase_since.wall));
  out->set_phase_since_age_ns((now - state.phase_since.mono).count());
  if (state.phase_deadline != MonoTime::max()) {
    // One that has passed is due at once, not longer ago after each restart.
    const Duration left =
        std::max(Duration::zero(), Duration(state.phase_deadline - now));
    out->set_phase_deadline_remaining_ns(left.count());
  }
  out->set_after_stop(std::string(AfterStopName(state.after_stop)));
}

absl::Status DecodePhase(const v1::StoredRunState& in, MonoTime now,
                         RunState* state) {
  ASSIGN_OR_RETURN(state->phase, ParseStoredName(in.phase(), RunPhase::kStopped,
                                                 RunPhaseName));
  state->phase_reason = in.phase_reason();
  state->phase_since = {now - Duration(in.phase_since_age_ns()),
                        FromUnixMillis(in.phase_since_unix_ms())};
  if (in.has_phase_deadline_remaining_ns()) {
    state->phase_deadline = now + Duration(in.phase_deadline_remaining_ns());
  }
  ASSIGN_OR_RETURN(
      state->after_stop,
      ParseStoredName(in.after_stop(), AfterStop::kEnd, AfterStopName));
  return absl::OkStatus();
}

// The fields that are stored as they are.
void EncodePlain(const RunState& state, v1::StoredRunState* out) {
  out->set_attempt(state.attempt.value);
  out->set_master_address(state.master_address);
  out->set_master_port(state.master_port);
  out->set_resume_step(state.resume_step.value);
  out->set_resume_attempt(state.resume_attempt.value);
  if (state.rollback_below)
    out->set_rollback_below(state.rollback_below->value);
  if (state.rollback_to) out->set_rollback_to(state.rollback_to->value);
  for (const StepRange& skip : state.skips) {
    v1::StoredStepRange* stored = out->add_skips();
    stored->set_from(skip.from.value);
    stored->set_to(skip.to.value);
  }
  out->set_learning_rate_factor(state.learning_rate_factor);
  out->set_is_held(state.is_held);
  out->set_hold_reason(state.hold_reason);
  out->set_held_incident(state.held_incident);
  out->set_max_step(state.max_step.value);
  out->set_attempt_step(state.attempt_step.value);
  out->set_max_step_at_start(state.max_step_at_start.value);
  out->set_save_seq(state.save_seq);
  if (state.save_step) out->set_save_step(state.save_step->value);
  out->set_save_then_stop(state.save_then_stop);
  out->set_save_request_id(state.save_request_id);
  out->set_save_margin_doublings(state.save_margin_doublings);
  out->set_restarts_without_progress(state.restarts_without_progress);
  out->set_guard_from(state.guard_from.value);
  out->set_avoid_node(state.avoid_node);
  out->set_open_incident(state.open_incident);
  out->set_incidents(state.incidents);
  out->set_created_unix_ms(ToUnixMillis(state.created));
  out->set_ended_unix_ms(ToUnixMillis(state.ended));
  out->set_attempts(state.attempts);
  out->set_first_attempt(state.first_attempt.value);
  out->mutable_finished()->insert(state.finished.begin(), state.finished.end());
  out->mutable_time_seconds()->insert(state.time_seconds.begin(),
                                      state.time_seconds.end());
  out->set_accounted_unix_ms(ToUnixMillis(state.accounted));
}

void DecodePlain(const v1::StoredRunState& in, RunState* state) {
  state->attempt = AttemptId{in.attempt()};
  state->master_address = in.master_address();
  state->master_port = in.master_port();
  state->resume_step = Step{in.resume_step()};
  state->resume_attempt = AttemptId{in.resume_attempt()};
  if (in.has_rollback_below())
    state->rollback_below = Step{in.rollback_below()};
  if (in.has_rollback_to()) state->rollback_to = Step{in.rollback_to()};
  for (const v1::StoredStepRange& skip : in.skips()) {
    state->skips.push_back({Step{skip.from()}, Step{skip.to()}});
  }
  state->learning_rate_factor = in.learning_rate_factor();
  state->is_held = in.is_held();
  state->hold_reason = in.hold_reason();
  state->held_incident = in.held_incident();
  state->max_step = Step{in.max_step()};
  state->attempt_step = Step{in.attempt_step()};
  state->max_step_at_start = Step{in.max_step_at_start()};
  state->save_seq = in.save_seq();
  if (in.has_save_step()) state->save_step = Step{in.save_step()};
  state->save_then_stop = in.save_then_stop();
  state->save_request_id = in.save_request_id();
  state->save_margin_doublings = in.save_margin_doublings();
  state->restarts_without_progress = in.restarts_without_progress();
  state->guard_from = AttemptId{in.guard_from()};
  state->avoid_node = in.avoid_node();
  state->open_incident = in.open_incident();
  state->incidents = in.incidents();
  state->created = FromUnixMillis(in.created_unix_ms());
  state->ended = FromUnixMillis(in.ended_unix_ms());
  state->attempts = in.attempts();
  state->first_attempt = AttemptId{in.first_attempt()};
  state->finished.insert(in.finished().begin(), in.finished().end());
  state->time_seconds.insert(in.time_seconds().begin(),
                             in.time_seconds().end());
  state->accounted = FromUnixMillis(in.accounted_unix_ms());
}

}  // namespace

std::string EncodeRunState(const RunState& state, MonoTime now) {
  v1::StoredRunState out;
  EncodeSpec(state.spec, out.mutable_spec());
  EncodePhase(state, now, &out);
  EncodePlacement(state.placement, &out);
  EncodeRestarts(state, now, &out);
  EncodePlain(state, &out);
  return out.SerializeAsString();
}

absl::StatusOr<RunState> DecodeRunState(std::string_view bytes, MonoTime now) {
  v1::StoredRunState in;
  RETURN_IF_ERROR(ParseStored(bytes, &in));
  RunState state;
  state.spec = DecodeSpec(in.spec());
  RETURN_IF_ERROR(DecodePhase(in, now, &state));
  RETURN_IF_ERROR(DecodePlacement(in, &state));
  RETURN_IF_ERROR(DecodeRestarts(in, now, &state));
  DecodePlain(in, &state);
  return state;
}

}  // namespace steadyrun
