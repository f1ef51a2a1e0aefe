// Plain values to protobuf. Free text is cut to what the other side accepts
// and made valid UTF-8, because one bad log line in a report that is resent
// until it is acknowledged would otherwise end every stream of its node.

#include <algorithm>
#include <chrono>
#include <string>

#include "proto/messages/convert.h"

namespace steadyrun {
namespace {

std::int64_t ToMillis(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration)
      .count();
}

// Length of the valid UTF-8 sequence at the start of `text`; 0 if none.
std::size_t Utf8Length(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return static_cast<unsigned char>(text[i]);
  };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates and numbers past U+10FFFF.
  if (first == 0xe0 && byte(1) < 0xa0) return 0;
  if (first == 0xed && byte(1) > 0x9f) return 0;
  if (first == 0xf0 && byte(1) < 0x90) return 0;
  if (first == 0xf4 && byte(1) > 0x8f) return 0;
  return length;
}

}  // namespace

std::string CleanText(std::string_view text, std::size_t most) {
  std::string clean;
  clean.reserve(std::min(text.size(), most));
  while (!text.empty()) {
    const std::size_t length = Utf8Length(text);
    if (clean.size() + std::max<std::size_t>(length, 1) > most) break;
    if (length == 0) {
      clean += '?';
      text.remove_prefix(1);
    } else {
      clean += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return clean;
}

namespace {

constexpr std::size_t kMaxLogLines = 20;
constexpr std::size_t kMaxLogLineBytes = 400;
constexpr std::size_t kMaxSignatureBytes = 512;

void WriteExit(const ExitStatus& exit, v1::ExitStatus* proto) {
  proto->set_code(exit.code);
  proto->set_signal(exit.signal);
}

void WriteStandstill(const RankState& rank, v1::RankState* proto) {
  proto->clear_collectives();
  for (const CollectivePosition& position : rank.collectives) {
    v1::CollectivePosition* out = proto->add_collectives();
    out->set_group(position.group);
    out->set_entered(position.entered);
  }
  proto->clear_stack();
  for (const std::string& frame : rank.stack) proto->add_stack(frame);
  proto->set_stack_age_ms(std::max<std::int64_t>(ToMillis(rank.stack_age), 0));
}

void WriteRank(const RankState& rank, v1::RankState* proto) {
  proto->set_rank(rank.rank.value);
  proto->set_local_rank(rank.local_rank);
  proto->set_attempt(rank.attempt.value);
  proto->set_life(static_cast<v1::RankLife>(rank.life));
  proto->set_pid(rank.pid);
  proto->set_step(rank.step.value);
  proto->set_phase(static_cast<v1::Phase>(rank.phase));
  proto->set_phase_age_ms(std::max<std::int64_t>(ToMillis(rank.phase_age), 0));
  proto->set_progress_age_ms(
      std::max<std::int64_t>(ToMillis(rank.progress_age), 0));
  proto->set_phase_seq(rank.phase_seq);
  if (rank.process_state != 0) {
    proto->set_process_state(std::string(1, rank.process_state));
  } else {
    proto->clear_process_state();
  }
  if (rank.exit != ExitStatus{}) {
    WriteExit(rank.exit, proto->mutable_exit());
  } else {
    proto->clear_exit();
  }
  proto->set_killed_by_agent(rank.killed_by_agent);
  proto->set_save_ack_seq(rank.save_ack_seq);
  proto->set_cpu_seconds(rank.cpu_seconds);
  proto->set_exit_age_ms(std::max<std::int64_t>(ToMillis(rank.exit_age), 0));
  WriteStandstill(rank, proto);
}

template <typename Value, typename Proto>
void WriteWhere(const Value& value, Proto* proto) {
  proto->set_run(value.run);
  proto->set_attempt(value.attempt.value);
  proto->set_step(value.step.value);
  proto->set_rank(value.rank.value);
}

void WriteBody(const StepBlock& block, v1::Report* report) {
  v1::StepBlock* proto = report->mutable_steps();
  proto->set_run(block.run);
  proto->set_attempt(block.attempt.value);
  proto->set_step(block.step.value);
  proto->mutable_ranks()->Assign(block.ranks.begin(), block.ranks.end());
  proto->mutable_metrics()->Assign(block.metrics.begin(), block.metrics.end());
  proto->mutable_names()->Assign(block.names.begin(), block.names.end());
  proto->set_values(reinterpret_cast<const char*>(block.values.data()),
                    block.values.size() * sizeof(float));
  proto->set_end_unix_ms(block.end_unix_ms);
}

void WriteBody(const RankExited& exited, v1::Report* report) {
  v1::RankExited* proto = report->mutable_exited();
  WriteWhere(exited, proto);
  WriteExit(exited.exit, proto->mutable_exit());
  proto->set_killed_by_agent(exited.killed_by_agent);
  proto->set_phase(static_cast<v1::Phase>(exited.phase));
  proto->set_exit_unix_ms(exited.exit_unix_ms);
  proto->set_error(CleanText(exited.error));
  proto->clear_last_log_lines();
  // The newest lines tell most.
  const std::size_t skipped =
      exited.last_log_lines.size() -
      std::min(exited.last_log_lines.size(), kMaxLogLines);
  for (std::size_t i = skipped; i < exited.last_log_lines.size(); ++i) {
    proto->add_last_log_lines(
        CleanText(exited.last_log_lines[i], kMaxLogLineBytes));
  }
  proto->set_is_secondary(exited.is_secondary);
  proto->set_signature(CleanText(exited.signature, kMaxSignatureBytes));
}

void WriteBody(const CheckpointShard& shard, v1::Report* report) {
  ToProto(shard, report->mutable_shard());
}

void WriteBody(const CheckpointShardBad& bad, v1::Report* report) {
  v1::CheckpointShardBad* proto = report->mutable_shard_bad();
  WriteWhere(bad, proto);
  proto->set_path(bad.path);
  proto->set_error(CleanText(bad.error));
}

void WriteBody(const CommandResult& result, v1::Report* report) {
  v1::CommandResult* proto = report->mutable_result();
  proto->set_command_id(result.command_id);
  proto->set_run(result.run);
  proto->set_attempt(result.attempt.value);
  proto->set_outcome(static_cast<v1::CommandOutcome>(result.outcome));
  proto->set_message(CleanText(result.message));
  proto->clear_checks();
  for (const ShardCheck& check : result.checks) {
    v1::ShardCheck* out = proto->add_checks();
    out->set_rank(check.rank.value);
    out->set_path(check.path);
    out->set_ok(check.ok);
    out->set_error(CleanText(check.error));
  }
}

void WriteBody(const RankFinished& finished, v1::Report* report) {
  v1::RankFinished* proto = report->mutable_finished();
  WriteWhere(finished, proto);
  proto->set_parameters_sha256(finished.parameters_sha256);
}

void WriteBody(const Gap& gap, v1::Report* report) {
  v1::Gap* proto = report->mutable_gap();
  proto->set_from_seq(gap.from.value);
  proto->set_to_seq(gap.to.value);
  proto->set_reason(CleanText(gap.reason));
}

void WriteBody(const StopCommand& stop, v1::Command* command) {
  command->mutable_stop()->set_grace_ms(ToMillis(stop.grace));
}

void WriteBody(const StartCommand& start, v1::Command* command) {
  v1::Start* proto = command->mutable_start();
  proto->mutable_argv()->Assign(start.argv.begin(), start.argv.end());
  proto->set_working_directory(start.working_directory);
  proto->clear_environment();
  proto->mutable_environment()->insert(start.environment.begin(),
                                       start.environment.end());
  proto->clear_ranks();
  for (const RankStart& rank : start.ranks) {
    v1::RankStart* out = proto->add_ranks();
    out->set_rank(rank.rank.value);
    out->set_local_rank(rank.local_rank);
    out->set_resume_path(rank.resume_path);
  }
  proto->set_world_size(start.world_size);
  proto->set_node_rank(start.node_rank);
  proto->set_nodes(start.nodes);
  proto->set_master_address(start.master_address);
  proto->set_master_port(start.master_port);
  proto->set_checkpoint_directory(start.checkpoint_directory);
  proto->set_resume_step(start.resume_step.value);
  proto->set_target_steps(start.target_steps);
  proto->set_log_format(start.log_format);
  proto->set_log_path(start.log_path);
}

void WriteBody(const SaveCommand& save, v1::Command* command) {
  v1::Save* proto = command->mutable_save();
  proto->set_step(save.step.value);
  proto->set_then_stop(save.then_stop);
  proto->set_save_seq(save.save_seq);
}

void WriteBody(const VerifyCommand& verify, v1::Command* command) {
  v1::Verify* proto = command->mutable_verify();
  proto->clear_shards();
  for (const ShardRef& shard : verify.shards) {
    v1::ShardRef* out = proto->add_shards();
    out->set_rank(shard.rank.value);
    out->set_path(shard.path);
    out->set_size_bytes(shard.size_bytes);
    out->set_sha256(shard.sha256);
  }
}

void WriteBody(const ForgetCommand&, v1::Command* command) {
  command->mutable_forget();
}

}  // namespace

void ToProto(const NodeState& value, v1::NodeState* proto) {
  proto->set_node(value.node);
  proto->set_boot_id(value.boot_id);
  proto->set_agent_incarnation(value.agent_incarnation.value);
  proto->set_agent_pid(value.agent_pid);
  proto->set_address(value.address);
  proto->set_rendezvous_port(value.rendezvous_port);
  proto->clear_runs();  // Keeps its messages for the next ones.
  for (const NodeRunState& run : value.runs) {
    v1::NodeRunState* out = proto->add_runs();
    out->set_run(run.run);
    out->set_floor(run.floor.value);
    out->set_started(run.started.value);
    out->clear_ranks();
    for (const RankState& rank : run.ranks) WriteRank(rank, out->add_ranks());
  }
  proto->set_spool_full(value.spool_full);
  proto->set_spooled_reports(value.spooled_reports);
  proto->set_dropped_reports(value.dropped_reports);
  proto->set_version(value.version);
  proto->set_metrics_address(value.metrics_address);
}

void ToProto(const CheckpointShard& value, v1::CheckpointShard* proto) {
  WriteWhere(value, proto);
  proto->set_path(value.path);
  proto->set_size_bytes(value.size_bytes);
  proto->set_sha256(value.sha256);
  proto->set_shards(value.shards);
  proto->set_saved_unix_ms(value.saved_unix_ms);
  proto->set_save_seconds(value.save_seconds);
  proto->set_error(CleanText(value.error));
}

void ToProto(const Report& value, v1::Report* proto) {
  proto->set_seq(value.seq.value);
  std::visit([&](const auto& body) { WriteBody(body, proto); }, value.body);
}

void ToProto(const Hello& value, v1::Hello* proto) {
  ToProto(value.state, proto->mutable_state());
  proto->set_max_server_epoch(value.max_server_epoch);
  proto->set_oldest_seq(value.oldest_seq.value);
  proto->set_token(value.token);
  proto->set_protocol_version(value.protocol_version);
}

void ToProto(const Welcome& value, v1::Welcome* proto) {
  proto->set_server_epoch(value.server_epoch);
  proto->set_server_id(value.server_id);
  proto->set_resume_after_seq(value.resume_after.value);
  proto->set_heartbeat_interval_ms(ToMillis(value.heartbeat_interval));
}

void ToProto(const Command& value, v1::Command* proto) {
  proto->set_command_id(value.command_id);
  proto->set_server_epoch(value.server_epoch);
  proto->set_run(value.run);
  proto->set_attempt(value.attempt.value);
  proto->set_boot_id(value.boot_id);
  std::visit([&](const auto& body) { WriteBody(body, proto); }, value.body);
}

}  // namespace steadyrun
