// Each case breaks one field of a good message and must be refused with
// INVALID_ARGUMENT and the field's name. The good message itself must pass, or
// the case would show nothing.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "proto/messages/convert.h"
#include "tests/unit/messages/samples.h"

namespace steadyrun {
namespace {

using ::testing::HasSubstr;

template <typename Proto>
struct BadInput {
  const char* name;
  std::function<void(Proto*)> spoil;
  const char* field;
};

template <typename Proto>
void ExpectAllRefused(const Proto& good,
                      const std::vector<BadInput<Proto>>& cases) {
  ASSERT_TRUE(FromProto(good).ok()) << FromProto(good).status();
  for (const auto& one : cases) {
    SCOPED_TRACE(one.name);
    Proto bad = good;
    one.spoil(&bad);
    const absl::Status status = FromProto(bad).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(one.field));
    EXPECT_THAT(std::string(status.message()), HasSubstr("expected"));
    EXPECT_LT(status.message().size(), 600u);
  }
}

constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
const std::string kLong(20'000, 'x');

TEST(BadInputTest, NodeState) {
  using P = v1::NodeState;
  const auto rank = [](P* p) { return p->mutable_runs(0)->mutable_ranks(1); };
  ExpectAllRefused<P>(
      NodeProto(),
      {
          {"no name", [](P* p) { p->clear_node(); }, "node: found ''"},
          {"path as name", [](P* p) { p->set_node("../x"); }, "node:"},
          {"long name", [](P* p) { p->set_node(kLong); }, "(20000 bytes)"},
          {"control", [](P* p) { p->set_node("a\x1b[2J"); }, "a\\x1b[2J"},
          {"no boot id", [](P* p) { p->clear_boot_id(); }, "boot_id:"},
          {"boot id", [](P* p) { p->set_boot_id("a b"); }, "boot_id:"},
          {"long boot id", [](P* p) { p->set_boot_id(kLong); }, "boot_id:"},
          {"no address", [](P* p) { p->clear_address(); }, "address:"},
          {"address", [](P* p) { p->set_address("a;rm"); }, "address:"},
          {"pid", [](P* p) { p->set_agent_pid(-1); }, "agent_pid:"},
          {"port", [](P* p) { p->set_rendezvous_port(65536); },
           "rendezvous_port: found 65536"},
          {"low port", [](P* p) { p->set_rendezvous_port(-1); },
           "rendezvous_port: found -1"},
          {"version", [](P* p) { p->set_version(kLong); }, "version:"},
          {"many runs",
           [](P* p) {
             for (int i = 0; i < 70; ++i) {
               p->add_runs()->set_run("r" + std::to_string(i));
             }
           },
           "runs: found 72 entries"},
          {"run twice", [](P* p) { p->mutable_runs(1)->set_run("gpt"); },
           "runs[1].run: found gpt twice"},
          {"run name", [](P* p) { p->mutable_runs(0)->set_run(".."); },
           "runs[0].run:"},
          {"floor", [](P* p) { p->mutable_runs(0)->set_floor(-1); },
           "runs[0].floor:"},
          {"huge floor", [](P* p) { p->mutable_runs(0)->set_floor(kHuge); },
           "runs[0].floor:"},
          {"started", [](P* p) { p->mutable_runs(0)->set_started(-1); },
           "runs[0].started:"},
          {"many ranks",
           [](P* p) {
             for (int i = 0; i < 5000; ++i) p->mutable_runs(0)->add_ranks();
           },
           "runs[0].ranks: found 5002 entries"},
          {"rank twice", [=](P* p) { rank(p)->set_rank(4); },
           "rank 4 of attempt 3 twice"},
          {"rank", [=](P* p) { rank(p)->set_rank(-1); }, "ranks[1].rank:"},
          {"huge rank", [=](P* p) { rank(p)->set_rank(1 << 20); },
           "ranks[1].rank:"},
          {"local rank", [=](P* p) { rank(p)->set_local_rank(-1); },
           "ranks[1].local_rank:"},
          {"no attempt", [=](P* p) { rank(p)->set_attempt(0); },
           "ranks[1].attempt: found 0"},
          {"attempt never started", [=](P* p) { rank(p)->set_attempt(4); },
           "ranks[1].attempt: found 4, expected at most started, 3"},
          {"life", [=](P* p) { rank(p)->clear_life(); }, "ranks[1].life:"},
          {"new life",
           [=](P* p) { rank(p)->set_life(static_cast<v1::RankLife>(9)); },
           "ranks[1].life: found 9"},
          {"rank pid", [=](P* p) { rank(p)->set_pid(-4); }, "ranks[1].pid:"},
          {"step", [=](P* p) { rank(p)->set_step(-2); }, "ranks[1].step:"},
          {"huge step", [=](P* p) { rank(p)->set_step(kHuge); },
           "ranks[1].step:"},
          {"phase age", [=](P* p) { rank(p)->set_phase_age_ms(-1); },
           "phase_age_ms:"},
          {"huge age", [=](P* p) { rank(p)->set_phase_age_ms(kHuge); },
           "phase_age_ms:"},
          {"progress age", [=](P* p) { rank(p)->set_progress_age_ms(-1); },
           "progress_age_ms:"},
          {"huge progress", [=](P* p) { rank(p)->set_progress_age_ms(kHuge); },
           "progress_age_ms:"},
          {"process state", [=](P* p) { rank(p)->set_process_state("RS"); },
           "process_state:"},
          {"digit as state", [=](P* p) { rank(p)->set_process_state("1"); },
           "process_state:"},
          {"exit code", [=](P* p) { rank(p)->mutable_exit()->set_code(256); },
           "exit.code:"},
          {"signal", [=](P* p) { rank(p)->mutable_exit()->set_signal(65); },
           "exit.signal:"},
          {"many collectives",
           [=](P* p) {
             for (int i = 0; i < 9; ++i) rank(p)->add_collectives();
           },
           "ranks[1].collectives: found 11 entries"},
          {"group", [=](P* p) { rank(p)->add_collectives()->set_group(kLong); },
           "ranks[1].collectives[2].group:"},
          {"many frames",
           [=](P* p) {
             for (int i = 0; i < 17; ++i) rank(p)->add_stack("f");
           },
           "ranks[1].stack: found 19 entries"},
          {"frame", [=](P* p) { rank(p)->add_stack(kLong); },
           "ranks[1].stack[2].frame:"},
          {"stack age", [=](P* p) { rank(p)->set_stack_age_ms(-1); },
           "stack_age_ms:"},
          {"cpu", [=](P* p) { rank(p)->set_cpu_seconds(-1); }, "cpu_seconds:"},
          {"cpu NaN", [=](P* p) { rank(p)->set_cpu_seconds(kNan); },
           "cpu_seconds: found nan"},
      });
}

TEST(BadInputTest, StepBlock) {
  using P = v1::Report;
  ExpectAllRefused<P>(
      ReportProto(SampleSteps()),
      {
          {"seq", [](P* p) { p->set_seq(0); }, "seq: found 0"},
          {"body", [](P* p) { p->clear_body(); }, "body: found none"},
          {"run", [](P* p) { p->mutable_steps()->clear_run(); }, "steps.run:"},
          {"attempt", [](P* p) { p->mutable_steps()->set_attempt(0); },
           "steps.attempt:"},
          {"huge attempt", [](P* p) { p->mutable_steps()->set_attempt(kHuge); },
           "steps.attempt:"},
          {"step", [](P* p) { p->mutable_steps()->set_step(-1); },
           "steps.step:"},
          {"step jump", [](P* p) { p->mutable_steps()->set_step(kHuge); },
           "steps.step:"},
          {"time", [](P* p) { p->mutable_steps()->set_end_unix_ms(-1); },
           "steps.end_unix_ms:"},
          {"huge time",
           [](P* p) { p->mutable_steps()->set_end_unix_ms(kHuge); },
           "steps.end_unix_ms:"},
          {"no ranks", [](P* p) { p->mutable_steps()->clear_ranks(); },
           "steps.ranks: found none"},
          {"rank twice", [](P* p) { p->mutable_steps()->set_ranks(1, 0); },
           "steps.ranks[1].rank: found 0 after 0"},
          {"descending", [](P* p) { p->mutable_steps()->set_ranks(0, 9); },
           "steps.ranks[1].rank: found 1 after 9"},
          {"huge rank",
           [](P* p) { p->mutable_steps()->set_ranks(2, 1U << 31); },
           "steps.ranks: found 2147483648"},
          {"many ranks",
           [](P* p) {
             p->mutable_steps()->clear_ranks();
             for (unsigned i = 0; i < 20'000; ++i) {
               p->mutable_steps()->add_ranks(i);
             }
           },
           "steps.ranks: found 20000 entries"},
          {"metric 0", [](P* p) { p->mutable_steps()->set_metrics(0, 0); },
           "steps.metrics[0].number: found 0"},
          {"unnamed", [](P* p) { p->mutable_steps()->set_metrics(3, 1002); },
           "steps.metrics[3].number: found 1002"},
          {"huge metric", [](P* p) { p->mutable_steps()->set_metrics(3, ~0U); },
           "steps.metrics[3].number:"},
          {"metric twice", [](P* p) { p->mutable_steps()->set_metrics(1, 1); },
           "steps.metrics[1].number: found 1 twice"},
          {"many metrics",
           [](P* p) {
             for (unsigned i = 3; i < 200; ++i) {
               p->mutable_steps()->add_metrics(i);
             }
           },
           "steps.metrics: found"},
          {"many names",
           [](P* p) {
             for (int i = 0; i < 70; ++i) p->mutable_steps()->add_names("n");
           },
           "steps.names: found 72 entries"},
          {"empty name", [](P* p) { p->mutable_steps()->set_names(0, ""); },
           "steps.names[0].name:"},
          {"long name", [](P* p) { p->mutable_steps()->set_names(1, kLong); },
           "steps.names[1].name: found 20000 bytes"},
          {"quote in name",
           [](P* p) { p->mutable_steps()->set_names(1, "a\"b"); },
           "steps.names[1].name:"},
          {"values short",
           [](P* p) { p->mutable_steps()->mutable_values()->pop_back(); },
           "steps.values: found 47 bytes, expected 48"},
          {"values long",
           [](P* p) { p->mutable_steps()->mutable_values()->append(4, 'x'); },
           "steps.values: found 52 bytes"},
          {"no values", [](P* p) { p->mutable_steps()->clear_values(); },
           "steps.values: found 0 bytes"},
      });
}

TEST(BadInputTest, RankExited) {
  using P = v1::Report;
  ExpectAllRefused<P>(
      ReportProto(SampleExited()),
      {
          {"run", [](P* p) { p->mutable_exited()->set_run("a b"); },
           "exited.run:"},
          {"attempt", [](P* p) { p->mutable_exited()->set_attempt(-3); },
           "exited.attempt:"},
          {"rank", [](P* p) { p->mutable_exited()->set_rank(-1); },
           "exited.rank:"},
          {"step", [](P* p) { p->mutable_exited()->set_step(-2); },
           "exited.step:"},
          {"code",
           [](P* p) { p->mutable_exited()->mutable_exit()->set_code(-1); },
           "exited.exit.code:"},
          {"signal",
           [](P* p) { p->mutable_exited()->mutable_exit()->set_signal(-9); },
           "exited.exit.signal:"},
          {"time", [](P* p) { p->mutable_exited()->set_exit_unix_ms(-1); },
           "exited.exit_unix_ms:"},
          {"error", [](P* p) { p->mutable_exited()->set_error(kLong); },
           "exited.error: found 20000 bytes, expected at most 16384"},
          {"signature", [](P* p) { p->mutable_exited()->set_signature(kLong); },
           "exited.signature:"},
          {"many lines",
           [](P* p) {
             for (int i = 0; i < 20; ++i) {
               p->mutable_exited()->add_last_log_lines("x");
             }
           },
           "exited.last_log_lines: found 22 entries"},
          {"long line",
           [](P* p) { p->mutable_exited()->set_last_log_lines(1, kLong); },
           "exited.last_log_lines[1].line:"},
      });
}

TEST(BadInputTest, Checkpoints) {
  using P = v1::Report;
  ExpectAllRefused<P>(
      ReportProto(SampleShard()),
      {
          {"run", [](P* p) { p->mutable_shard()->set_run(""); }, "shard.run:"},
          {"step", [](P* p) { p->mutable_shard()->set_step(-1); },
           "shard.step:"},
          {"rank", [](P* p) { p->mutable_shard()->set_rank(-1); },
           "shard.rank:"},
          {"no path", [](P* p) { p->mutable_shard()->clear_path(); },
           "shard.path:"},
          {"NUL",
           [](P* p) {
             p->mutable_shard()->set_path({"/a\0b", 4});
           },
           "shard.path:"},
          {"long path", [](P* p) { p->mutable_shard()->set_path(kLong); },
           "shard.path:"},
          {"size", [](P* p) { p->mutable_shard()->set_size_bytes(-1); },
           "shard.size_bytes:"},
          {"huge size", [](P* p) { p->mutable_shard()->set_size_bytes(kHuge); },
           "shard.size_bytes:"},
          {"no digest", [](P* p) { p->mutable_shard()->clear_sha256(); },
           "shard.sha256:"},
          {"upper case",
           [](P* p) { p->mutable_shard()->set_sha256(std::string(64, 'A')); },
           "shard.sha256:"},
          {"short digest", [](P* p) { p->mutable_shard()->set_sha256("ab"); },
           "shard.sha256:"},
          {"shards", [](P* p) { p->mutable_shard()->set_shards(0); },
           "shard.shards:"},
          {"huge shards",
           [](P* p) { p->mutable_shard()->set_shards(INT32_MAX); },
           "shard.shards:"},
          {"time", [](P* p) { p->mutable_shard()->set_saved_unix_ms(-1); },
           "shard.saved_unix_ms:"},
          {"seconds",
           [](P* p) {
             p->mutable_shard()->set_save_seconds(
                 std::numeric_limits<double>::infinity());
           },
           "shard.save_seconds: found inf"},
          {"error", [](P* p) { p->mutable_shard()->set_error(kLong); },
           "shard.error:"},
      });
  ExpectAllRefused<P>(
      ReportProto(CheckpointShardBad{"gpt", {3}, {40}, {5}, "/c", "changed"}),
      {
          {"path", [](P* p) { p->mutable_shard_bad()->clear_path(); },
           "shard_bad.path:"},
          {"step", [](P* p) { p->mutable_shard_bad()->set_step(-1); },
           "shard_bad.step:"},
          {"error", [](P* p) { p->mutable_shard_bad()->set_error(kLong); },
           "shard_bad.error:"},
      });
}

TEST(BadInputTest, ResultFinishedAndGap) {
  using P = v1::Report;
  ExpectAllRefused<P>(
      ReportProto(SampleResult()),
      {
          {"id", [](P* p) { p->mutable_result()->clear_command_id(); },
           "result.command_id:"},
          {"bad id", [](P* p) { p->mutable_result()->set_command_id("a\n"); },
           "result.command_id:"},
          {"run", [](P* p) { p->mutable_result()->set_run("/"); },
           "result.run:"},
          {"attempt", [](P* p) { p->mutable_result()->set_attempt(-1); },
           "result.attempt:"},
          {"outcome", [](P* p) { p->mutable_result()->clear_outcome(); },
           "result.outcome:"},
          {"message", [](P* p) { p->mutable_result()->set_message(kLong); },
           "result.message:"},
          {"check rank",
           [](P* p) { p->mutable_result()->mutable_checks(1)->set_rank(-1); },
           "result.checks[1].rank:"},
          {"check path",
           [](P* p) { p->mutable_result()->mutable_checks(0)->clear_path(); },
           "result.checks[0].path:"},
          {"check error",
           [](P* p) {
             p->mutable_result()->mutable_checks(0)->set_error(kLong);
           },
           "result.checks[0].error:"},
          {"many checks",
           [](P* p) {
             for (int i = 0; i < 17'000; ++i) {
               p->mutable_result()->add_checks()->set_path("/a");
             }
           },
           "result.checks: found 17002 entries"},
      });
  ExpectAllRefused<P>(
      ReportProto(RankFinished{"gpt", {3}, {5}, {7}, ""}),
      {
          {"digest",
           [](P* p) { p->mutable_finished()->set_parameters_sha256("xyz"); },
           "finished.parameters_sha256:"},
          {"rank", [](P* p) { p->mutable_finished()->set_rank(-5); },
           "finished.rank:"},
          {"step", [](P* p) { p->mutable_finished()->set_step(-5); },
           "finished.step:"},
      });
  ExpectAllRefused<P>(
      ReportProto(Gap{{3}, {9}, "full"}),
      {
          {"from", [](P* p) { p->mutable_gap()->set_from_seq(0); },
           "gap.from_seq:"},
          {"order", [](P* p) { p->mutable_gap()->set_to_seq(2); },
           "gap.to_seq: found 2"},
          {"reason", [](P* p) { p->mutable_gap()->set_reason(kLong); },
           "gap.reason:"},
      });
}

TEST(BadInputTest, HelloAndWelcome) {
  v1::Hello hello;
  ToProto(SampleHello(), &hello);
  ExpectAllRefused<v1::Hello>(
      hello, {
                 {"no version", [](auto* p) { p->clear_protocol_version(); },
                  "protocol_version: found 0"},
                 {"newer", [](auto* p) { p->set_protocol_version(2); },
                  "protocol_version: found 2"},
                 {"token", [](auto* p) { p->set_token(kLong); }, "token:"},
                 {"state", [](auto* p) { p->clear_state(); }, "state.node:"},
             });
  v1::Welcome welcome;
  ToProto(Welcome{1, "id", {0}, std::chrono::milliseconds(500)}, &welcome);
  ExpectAllRefused<v1::Welcome>(
      welcome,
      {
          {"epoch", [](auto* p) { p->clear_server_epoch(); }, "server_epoch:"},
          {"id", [](auto* p) { p->clear_server_id(); }, "server_id:"},
          {"interval", [](auto* p) { p->set_heartbeat_interval_ms(0); },
           "heartbeat_interval_ms:"},
          {"long interval",
           [](auto* p) { p->set_heartbeat_interval_ms(kHuge); },
           "heartbeat_interval_ms:"},
      });
}

TEST(BadInputTest, Start) {
  using P = v1::Command;
  v1::Command start;
  ToProto(SampleStart(), &start);
  ExpectAllRefused<P>(
      start,
      {
          {"id", [](P* p) { p->clear_command_id(); }, "command_id:"},
          {"epoch", [](P* p) { p->set_server_epoch(0); }, "server_epoch:"},
          {"run", [](P* p) { p->set_run(""); }, "run:"},
          {"attempt", [](P* p) { p->set_attempt(-1); }, "attempt:"},
          {"boot id", [](P* p) { p->clear_boot_id(); }, "boot_id:"},
          {"body", [](P* p) { p->clear_body(); }, "body: found none"},
          {"argv", [](P* p) { p->mutable_start()->clear_argv(); },
           "start.argv: found none"},
          {"no program", [](P* p) { p->mutable_start()->set_argv(0, ""); },
           "start.argv[0]:"},
          {"NUL in argv",
           [](P* p) {
             p->mutable_start()->set_argv(1, {"a\0b", 3});
           },
           "start.argv[1].word:"},
          {"many words",
           [](P* p) {
             for (int i = 0; i < 5000; ++i) p->mutable_start()->add_argv("x");
           },
           "start.argv: found 5005 entries"},
          {"long word",
           [](P* p) {
             p->mutable_start()->set_argv(1, std::string(200'000, 'x'));
           },
           "start.argv[1].word:"},
          {"variable",
           [](P* p) { (*p->mutable_start()->mutable_environment())["A=B"]; },
           "start.environment:"},
          {"no variable",
           [](P* p) { (*p->mutable_start()->mutable_environment())[""]; },
           "start.environment:"},
          {"digit first",
           [](P* p) { (*p->mutable_start()->mutable_environment())["1A"]; },
           "start.environment:"},
          {"NUL in value",
           [](P* p) {
             (*p->mutable_start()->mutable_environment())["A"] = {"a\0", 2};
           },
           "start.environment.A:"},
          {"directory",
           [](P* p) {
             p->mutable_start()->set_working_directory({"\0", 1});
           },
           "start.working_directory:"},
          {"no ranks", [](P* p) { p->mutable_start()->clear_ranks(); },
           "start.ranks: found none"},
          {"rank beyond world",
           [](P* p) { p->mutable_start()->mutable_ranks(1)->set_rank(8); },
           "start.ranks[1].rank: found 8"},
          {"rank twice",
           [](P* p) { p->mutable_start()->mutable_ranks(1)->set_rank(4); },
           "start.ranks[1].rank: found 4 after 4"},
          {"local rank",
           [](P* p) {
             p->mutable_start()->mutable_ranks(1)->set_local_rank(2);
           },
           "start.ranks[1].local_rank:"},
          {"resume path",
           [](P* p) {
             p->mutable_start()->mutable_ranks(0)->set_resume_path("/a\n");
           },
           "start.ranks[0].resume_path:"},
          {"world", [](P* p) { p->mutable_start()->set_world_size(0); },
           "start.world_size:"},
          {"nodes", [](P* p) { p->mutable_start()->set_nodes(0); },
           "start.nodes:"},
          {"more nodes than ranks",
           [](P* p) { p->mutable_start()->set_nodes(9); }, "start.nodes:"},
          {"node rank", [](P* p) { p->mutable_start()->set_node_rank(4); },
           "start.node_rank:"},
          {"master", [](P* p) { p->mutable_start()->clear_master_address(); },
           "start.master_address:"},
          {"port", [](P* p) { p->mutable_start()->set_master_port(0); },
           "start.master_port:"},
          {"resume step", [](P* p) { p->mutable_start()->set_resume_step(-2); },
           "start.resume_step:"},
          {"target", [](P* p) { p->mutable_start()->set_target_steps(-1); },
           "start.target_steps:"},
          {"log format",
           [](P* p) { p->mutable_start()->set_log_format(kLong); },
           "start.log_format:"},
          {"log path",
           [](P* p) {
             p->mutable_start()->set_log_path(std::string("a\0b", 3));
           },
           "start.log_path:"},
      });
}

TEST(BadInputTest, OtherCommands) {
  using P = v1::Command;
  v1::Command stop;
  ToProto(CommandOf(StopCommand{}), &stop);
  ExpectAllRefused<P>(
      stop, {{"grace", [](P* p) { p->mutable_stop()->set_grace_ms(-1); },
              "stop.grace_ms:"},
             {"long", [](P* p) { p->mutable_stop()->set_grace_ms(kHuge); },
              "stop.grace_ms:"}});
  v1::Command save;
  ToProto(CommandOf(SaveCommand{{1}, false, 1}), &save);
  ExpectAllRefused<P>(
      save,
      {{"step", [](P* p) { p->mutable_save()->set_step(-1); }, "save.step:"},
       {"seq", [](P* p) { p->mutable_save()->clear_save_seq(); },
        "save.save_seq:"}});
  v1::Command verify;
  ToProto(SampleVerify(), &verify);
  const auto shard = [](P* p) {
    return p->mutable_verify()->mutable_shards(1);
  };
  ExpectAllRefused<P>(verify,
                      {{"rank", [=](P* p) { shard(p)->set_rank(-1); },
                        "verify.shards[1].rank:"},
                       {"path", [=](P* p) { shard(p)->clear_path(); },
                        "verify.shards[1].path:"},
                       {"size", [=](P* p) { shard(p)->set_size_bytes(-1); },
                        "verify.shards[1].size_bytes:"},
                       {"digest", [=](P* p) { shard(p)->set_sha256("x"); },
                        "verify.shards[1].sha256:"}});
}

}  // namespace
}  // namespace steadyrun
