#include "tests/unit/messages/samples.h"

#include <limits>

#include "proto/messages/convert.h"

namespace steadyrun {

NodeState SampleNode() {
  RankState rank;
  rank.rank = {5};
  rank.local_rank = 1;
  rank.attempt = {3};
  rank.life = RankLife::kExited;
  rank.pid = 4242;
  rank.step = {41};
  rank.phase = Phase::kBackward;
  rank.phase_age = std::chrono::milliseconds(1500);
  rank.progress_age = std::chrono::milliseconds(2500);
  rank.phase_seq = 77;
  rank.process_state = 'Z';
  rank.exit = {1, 0};
  rank.killed_by_agent = true;
  rank.save_ack_seq = 9;
  rank.cpu_seconds = 12.25;
  rank.exit_age = std::chrono::milliseconds(40);
  rank.collectives = {{"world", 12}, {"tp:0-1", 7}};
  rank.stack = {"all_reduce (torch/distributed.py:10)", "train (train.py:3)"};
  rank.stack_age = std::chrono::milliseconds(300);
  RankState young;
  young.rank = {4};
  young.attempt = {3};
  NodeRunState run;
  run.run = "gpt";
  run.floor = {3};
  run.started = {3};
  run.ranks = {young, rank};
  NodeState node;
  node.node = "node-1";
  node.boot_id = "b7e8:uuid";
  node.agent_incarnation = {~std::uint64_t{0}};
  node.agent_pid = 99;
  node.address = "10.0.0.1";
  node.rendezvous_port = 29500;
  node.runs = {run, {"other.run", {1}, {0}, {}}};
  node.spool_full = true;
  node.spooled_reports = 11;
  node.dropped_reports = 12;
  node.version = "0.1.0";
  node.metrics_address = "10.0.0.1:7081";
  return node;
}

StepBlock SampleSteps() {
  StepBlock block;
  block.run = "gpt";
  block.attempt = {3};
  block.step = {41};
  block.ranks = {0, 1, 7};
  block.metrics = {1, 2, 1000, 1001};
  block.names = {"kl", "reward/mean"};
  block.values = {0.5F,
                  0.6F,
                  0.7F,
                  2.5F,
                  std::numeric_limits<float>::quiet_NaN(),
                  AbsentValue(),
                  -1.0F,
                  std::numeric_limits<float>::infinity(),
                  1e-30F,
                  1.0F,
                  2.0F,
                  3.0F};
  block.end_unix_ms = 1'700'000'000'123;
  return block;
}

RankExited SampleExited() {
  RankExited exited;
  exited.run = "gpt";
  exited.attempt = {3};
  exited.rank = {5};
  exited.exit = {0, 9};
  exited.killed_by_agent = true;
  exited.step = {41};
  exited.phase = Phase::kForward;
  exited.exit_unix_ms = 1'700'000'000'123;
  exited.error = "RuntimeError: boom";
  exited.last_log_lines = {"line 1", "line 2"};
  exited.is_secondary = true;
  exited.signature = "RuntimeError@train.py:7";
  return exited;
}

CheckpointShard SampleShard() {
  CheckpointShard shard;
  shard.run = "gpt";
  shard.attempt = {3};
  shard.step = {40};
  shard.rank = {5};
  shard.path = "/ckpt/attempt-3/step-40/rank-5.pt";
  shard.size_bytes = 123456;
  shard.sha256 = std::string(64, 'a');
  shard.shards = 8;
  shard.saved_unix_ms = 1'700'000'000'123;
  shard.save_seconds = 0.75;
  return shard;
}

CommandResult SampleResult() {
  CommandResult result;
  result.command_id = "gpt/3/verify/40/node-1";
  result.run = "gpt";
  result.attempt = {3};
  result.outcome = CommandOutcome::kFailed;
  result.message = "one shard differs";
  result.checks = {{{0}, "/ckpt/0", true, ""}, {{5}, "/ckpt/5", false, "gone"}};
  return result;
}

Hello SampleHello() {
  Hello hello;
  hello.state = SampleNode();
  hello.max_server_epoch = 8;
  hello.oldest_seq = {100};
  hello.token = "secret";
  return hello;
}

Command CommandOf(CommandBody body) {
  Command command;
  command.command_id = "gpt/4/x/node-1";
  command.server_epoch = 8;
  command.run = "gpt";
  command.attempt = {4};
  command.boot_id = "b7e8:uuid";
  command.body = std::move(body);
  return command;
}

Command SampleStart() {
  StartCommand start;
  start.argv = {"python3", "train.py", "--lr", "1e-4", ""};
  start.working_directory = "/work";
  start.environment = {{"OMP_NUM_THREADS", "1"}, {"EMPTY", ""}};
  start.ranks = {{{4}, 0, "/ckpt/4"}, {{5}, 1, ""}};
  start.world_size = 8;
  start.node_rank = 1;
  start.nodes = 4;
  start.master_address = "10.0.0.1";
  start.master_port = 29500;
  start.checkpoint_directory = "/ckpt/attempt-4";
  start.resume_step = {40};
  start.target_steps = 1500;
  start.log_format = "megatron";
  start.log_path = "/logs/{rank}.log";
  return CommandOf(start);
}

Command SampleVerify() {
  return CommandOf(VerifyCommand{{{{4}, "/ckpt/4", 5, std::string(64, '0')},
                                  {{5}, "/ckpt/5", 0, std::string(64, 'f')}}});
}

v1::Report ReportProto(ReportBody body) {
  v1::Report proto;
  ToProto(Report{{1}, std::move(body)}, &proto);
  return proto;
}

v1::NodeState NodeProto() {
  v1::NodeState proto;
  ToProto(SampleNode(), &proto);
  return proto;
}

}  // namespace steadyrun
