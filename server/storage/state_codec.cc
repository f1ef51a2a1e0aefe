#include "server/storage/state_codec.h"

#include "server/storage/stored_name.h"
#include "steadyrun/v1/storage.pb.h"

namespace steadyrun {
namespace {

void EncodeShard(const CheckpointShard& shard, v1::StoredShard* out) {
  out->set_run(shard.run);
  out->set_attempt(shard.attempt.value);
  out->set_step(shard.step.value);
  out->set_rank(shard.rank.value);
  out->set_path(shard.path);
  out->set_size_bytes(shard.size_bytes);
  out->set_sha256(shard.sha256);
  out->set_shards(shard.shards);
  out->set_saved_unix_ms(shard.saved_unix_ms);
  out->set_save_seconds(shard.save_seconds);
  out->set_error(shard.error);
}

CheckpointShard DecodeShard(const v1::StoredShard& in) {
  CheckpointShard shard;
  shard.run = in.run();
  shard.attempt = AttemptId{in.attempt()};
  shard.step = Step{in.step()};
  shard.rank = Rank{in.rank()};
  shard.path = in.path();
  shard.size_bytes = in.size_bytes();
  shard.sha256 = in.sha256();
  shard.shards = in.shards();
  shard.saved_unix_ms = in.saved_unix_ms();
  shard.save_seconds = in.save_seconds();
  shard.error = in.error();
  return shard;
}

void EncodeExit(const RankExited& exit, v1::StoredRankFailure* out) {
  out->set_run(exit.run);
  out->set_attempt(exit.attempt.value);
  out->set_rank(exit.rank.value);
  out->set_exit_code(exit.exit.code);
  out->set_exit_signal(exit.exit.signal);
  out->set_killed_by_agent(exit.killed_by_agent);
  out->set_step(exit.step.value);
  out->set_phase(std::string(PhaseName(exit.phase)));
  out->set_exit_unix_ms(exit.exit_unix_ms);
  out->set_error(exit.error);
  for (const std::string& line : exit.last_log_lines) {
    out->add_last_log_lines(line);
  }
  out->set_is_secondary(exit.is_secondary);
  out->set_signature(exit.signature);
}

absl::StatusOr<RankExited> DecodeExit(const v1::StoredRankFailure& in) {
  RankExited exit;
  exit.run = in.run();
  exit.attempt = AttemptId{in.attempt()};
  exit.rank = Rank{in.rank()};
  exit.exit = {in.exit_code(), in.exit_signal()};
  exit.killed_by_agent = in.killed_by_agent();
  exit.step = Step{in.step()};
  ASSIGN_OR_RETURN(exit.phase,
                   ParseStoredName(in.phase(), Phase::kOther, PhaseName));
  exit.exit_unix_ms = in.exit_unix_ms();
  exit.error = in.error();
  exit.last_log_lines.assign(in.last_log_lines().begin(),
                             in.last_log_lines().end());
  exit.is_secondary = in.is_secondary();
  exit.signature = in.signature();
  return exit;
}

}  // namespace

std::string EncodeIncident(const Incident& incident) {
  v1::StoredIncident out;
  out.set_number(incident.number);
  out.set_run(incident.run);
  out.set_kind(std::string(IncidentKindName(incident.kind)));
  out.set_severity(std::string(SeverityName(incident.severity)));
  out.set_state(std::string(IncidentStateName(incident.state)));
  out.set_attempt(incident.attempt.value);
  out.set_culprit_node(incident.culprit.node);
  out.set_culprit_rank(incident.culprit.rank.value);
  out.set_step(incident.step.value);
  out.set_onset_unix_ms(ToUnixMillis(incident.onset));
  out.set_detected_unix_ms(ToUnixMillis(incident.detected));
  out.set_recovered_unix_ms(ToUnixMillis(incident.recovered));
  out.set_detection_ns(incident.detection_time.count());
  out.set_recovery_ns(incident.recovery_time.count());
  out.set_steps_lost(incident.steps_lost);
  out.set_remediation(incident.remediation);
  out.set_reason(incident.reason);
  out.set_signature(incident.signature);
  out.set_detector(incident.detector);
  out.set_onset_step(incident.onset_step.value);
  out.set_advice(std::string(AdviceName(incident.advice)));
  out.set_rollback_below(incident.rollback.below.value);
  out.set_skip_from(incident.rollback.skip_from.value);
  out.set_skip_to(incident.rollback.skip_to.value);
  out.set_learning_rate_factor(incident.rollback.learning_rate_factor);
  for (const std::string& line : incident.evidence) out.add_evidence(line);
  for (const TimelineEntry& entry : incident.timeline) {
    v1::StoredTimelineEntry* stored = out.add_timeline();
    stored->set_unix_ms(ToUnixMillis(entry.at));
    stored->set_text(entry.text);
  }
  return out.SerializeAsString();
}

absl::StatusOr<Incident> DecodeIncident(std::string_view bytes) {
  v1::StoredIncident in;
  RETURN_IF_ERROR(ParseStored(bytes, &in));
  Incident incident;
  incident.number = in.number();
  incident.run = in.run();
  ASSIGN_OR_RETURN(incident.kind, ParseStoredName(in.kind(), kLastIncidentKind,
                                                  IncidentKindName));
  ASSIGN_OR_RETURN(
      incident.severity,
      ParseStoredName(in.severity(), Severity::kCritical, SeverityName));
  ASSIGN_OR_RETURN(
      incident.state,
      ParseStoredName(in.state(), IncidentState::kClosed, IncidentStateName));
  incident.attempt = AttemptId{in.attempt()};
  incident.culprit = {in.culprit_node(), Rank{in.culprit_rank()}};
  incident.step = Step{in.step()};
  incident.onset = FromUnixMillis(in.onset_unix_ms());
  incident.detected = FromUnixMillis(in.detected_unix_ms());
  incident.recovered = FromUnixMillis(in.recovered_unix_ms());
  incident.detection_time = Duration(in.detection_ns());
  incident.recovery_time = Duration(in.recovery_ns());
  incident.steps_lost = in.steps_lost();
  incident.remediation = in.remediation();
  incident.reason = in.reason();
  incident.signature = in.signature();
  incident.detector = in.detector();
  incident.onset_step = Step{in.onset_step()};
  ASSIGN_OR_RETURN(incident.advice,
                   ParseStoredName(in.advice(), Advice::kHalt, AdviceName));
  incident.rollback = {Step{in.rollback_below()}, Step{in.skip_from()},
                       Step{in.skip_to()}, in.learning_rate_factor()};
  incident.evidence.assign(in.evidence().begin(), in.evidence().end());
  for (const v1::StoredTimelineEntry& entry : in.timeline()) {
    incident.timeline.push_back(
        {FromUnixMillis(entry.unix_ms()), entry.text()});
  }
  return incident;
}

std::string EncodeCheckpoint(const Checkpoint& checkpoint) {
  v1::StoredCheckpoint out;
  out.set_run(checkpoint.run);
  out.set_attempt(checkpoint.attempt.value);
  out.set_step(checkpoint.step.value);
  out.set_state(std::string(CheckpointStateName(checkpoint.state)));
  out.set_reason(checkpoint.reason);
  out.set_shards_expected(checkpoint.shards_expected);
  for (const auto& [rank, shard] : checkpoint.shards) {
    EncodeShard(shard, out.add_shards());
  }
  out.set_saved_unix_ms(ToUnixMillis(checkpoint.saved));
  out.set_save_seconds(checkpoint.save_seconds);
  return out.SerializeAsString();
}

absl::StatusOr<Checkpoint> DecodeCheckpoint(std::string_view bytes) {
  v1::StoredCheckpoint in;
  RETURN_IF_ERROR(ParseStored(bytes, &in));
  Checkpoint checkpoint;
  checkpoint.run = in.run();
  checkpoint.attempt = AttemptId{in.attempt()};
  checkpoint.step = Step{in.step()};
  ASSIGN_OR_RETURN(checkpoint.state,
                   ParseStoredName(in.state(), CheckpointState::kDistrusted,
                                   CheckpointStateName));
  checkpoint.reason = in.reason();
  checkpoint.shards_expected = in.shards_expected();
  for (const v1::StoredShard& shard : in.shards()) {
    checkpoint.shards[shard.rank()] = DecodeShard(shard);
  }
  checkpoint.saved = FromUnixMillis(in.saved_unix_ms());
  checkpoint.save_seconds = in.save_seconds();
  return checkpoint;
}

std::string EncodeNode(const NodeRecord& node) {
  v1::StoredNode out;
  out.set_node(node.node);
  out.set_address(node.address);
  out.set_boot_id(node.boot_id);
  out.set_is_quarantined(node.is_quarantined);
  out.set_quarantine_reason(node.quarantine_reason);
  out.set_incidents(node.incidents);
  for (const WallTime at : node.blamed)
    out.add_blamed_unix_ms(ToUnixMillis(at));
  return out.SerializeAsString();
}

absl::StatusOr<NodeRecord> DecodeNode(std::string_view bytes) {
  v1::StoredNode in;
  RETURN_IF_ERROR(ParseStored(bytes, &in));
  NodeRecord node;
  node.node = in.node();
  node.address = in.address();
  node.boot_id = in.boot_id();
  node.is_quarantined = in.is_quarantined();
  node.quarantine_reason = in.quarantine_reason();
  node.incidents = in.incidents();
  for (const std::int64_t at : in.blamed_unix_ms()) {
    node.blamed.push_back(FromUnixMillis(at));
  }
  return node;
}

std::string EncodeRankFailure(const RankFailed& failure) {
  v1::StoredRankFailure out;
  EncodeExit(failure.exit, &out);
  out.set_node(failure.node);
  out.set_at_unix_ms(ToUnixMillis(failure.at));
  return out.SerializeAsString();
}

absl::StatusOr<RankFailed> DecodeRankFailure(std::string_view bytes) {
  v1::StoredRankFailure in;
  RETURN_IF_ERROR(ParseStored(bytes, &in));
  RankFailed failure;
  ASSIGN_OR_RETURN(failure.exit, DecodeExit(in));
  failure.node = in.node();
  failure.at = FromUnixMillis(in.at_unix_ms());
  return failure;
}

}  // namespace steadyrun
