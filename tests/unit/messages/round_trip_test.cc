// What one side writes, the other reads as the same value, over real bytes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "proto/messages/convert.h"
#include "tests/unit/messages/samples.h"

namespace steadyrun {
namespace {

using ::testing::HasSubstr;

// Through serialized bytes; the target may be dirty from an earlier message,
// as the reused messages of a stream are.
template <typename Proto, typename Value>
Proto OverTheWire(const Value& value, Proto target = {}) {
  Proto written;
  ToProto(value, &written);
  EXPECT_TRUE(target.ParseFromString(written.SerializeAsString()));
  return target;
}

template <typename Body>
Body RoundTrip(const Body& body) {
  const auto proto = OverTheWire<v1::Report>(Report{{7}, body});
  const auto report = FromProto(proto);
  EXPECT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->seq.value, 7u);
  return std::get<Body>(report->body);
}

template <typename Body>
Body RoundTripCommand(const Command& command) {
  const auto read = FromProto(OverTheWire<v1::Command>(command));
  EXPECT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->command_id, command.command_id);
  EXPECT_EQ(read->server_epoch, command.server_epoch);
  EXPECT_EQ(read->run, command.run);
  EXPECT_EQ(read->attempt, command.attempt);
  EXPECT_EQ(read->boot_id, command.boot_id);
  return std::get<Body>(read->body);
}

TEST(RoundTripTest, NodeState) {
  const auto node = FromProto(OverTheWire<v1::NodeState>(SampleNode()));
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ(*node, SampleNode());
}

TEST(RoundTripTest, AReusedMessageKeepsNothingOfTheLast) {
  v1::NodeState proto;
  ToProto(SampleNode(), &proto);
  NodeState plain = SampleNode();
  plain.runs[0].ranks = {plain.runs[0].ranks[0]};
  plain.runs.pop_back();
  plain.spool_full = false;
  plain.version.clear();
  ToProto(plain, &proto);
  EXPECT_EQ(*FromProto(proto), plain);

  v1::Report report;
  ToProto(Report{{1}, SampleSteps()}, &report);
  StepBlock small = SampleSteps();
  small.ranks = {3};
  small.metrics = {2};
  small.names.clear();
  small.values = {1.5F};
  ToProto(Report{{2}, small}, &report);
  const auto read = FromProto(report);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(std::get<StepBlock>(read->body).values, small.values);
}

TEST(RoundTripTest, StepBlockBitForBit) {
  const StepBlock sent = SampleSteps();
  const StepBlock read = RoundTrip(sent);
  EXPECT_EQ(read.run, sent.run);
  EXPECT_EQ(read.attempt, sent.attempt);
  EXPECT_EQ(read.step, sent.step);
  EXPECT_EQ(read.ranks, sent.ranks);
  EXPECT_EQ(read.metrics, sent.metrics);
  EXPECT_EQ(read.names, sent.names);
  EXPECT_EQ(read.end_unix_ms, sent.end_unix_ms);
  ASSERT_EQ(read.values.size(), sent.values.size());
  EXPECT_EQ(std::memcmp(read.values.data(), sent.values.data(),
                        sent.values.size() * sizeof(float)),
            0);
  EXPECT_TRUE(IsAbsent(read.Column(Metric::kLoss)[2]));
}

TEST(RoundTripTest, AStepWithoutMetricsIsProgressAllTheSame) {
  StepBlock bare = SampleSteps();
  bare.metrics.clear();
  bare.names.clear();
  bare.values.clear();
  EXPECT_TRUE(RoundTrip(bare).values.empty());
}

TEST(RoundTripTest, RankExited) {
  const RankExited sent = SampleExited();
  const RankExited read = RoundTrip(sent);
  EXPECT_EQ(read.run, sent.run);
  EXPECT_EQ(read.attempt, sent.attempt);
  EXPECT_EQ(read.rank, sent.rank);
  EXPECT_EQ(read.exit, sent.exit);
  EXPECT_EQ(read.killed_by_agent, sent.killed_by_agent);
  EXPECT_EQ(read.step, sent.step);
  EXPECT_EQ(read.phase, sent.phase);
  EXPECT_EQ(read.exit_unix_ms, sent.exit_unix_ms);
  EXPECT_EQ(read.error, sent.error);
  EXPECT_EQ(read.last_log_lines, sent.last_log_lines);
  EXPECT_EQ(read.is_secondary, sent.is_secondary);
  EXPECT_EQ(read.signature, sent.signature);
}

TEST(RoundTripTest, Checkpoints) {
  EXPECT_EQ(RoundTrip(SampleShard()), SampleShard());
  CheckpointShard unread = SampleShard();
  unread.sha256.clear();
  unread.error = "input/output error";
  EXPECT_EQ(RoundTrip(unread), unread);
  const CheckpointShardBad sent{"gpt", {3}, {40}, {5}, "/ckpt/5", "changed"};
  const CheckpointShardBad bad = RoundTrip(sent);
  EXPECT_EQ(bad.path, sent.path);
  EXPECT_EQ(bad.error, sent.error);
  EXPECT_EQ(bad.step, sent.step);
}

TEST(RoundTripTest, ResultFinishedAndGap) {
  const CommandResult result = RoundTrip(SampleResult());
  EXPECT_EQ(result.command_id, SampleResult().command_id);
  EXPECT_EQ(result.outcome, CommandOutcome::kFailed);
  ASSERT_EQ(result.checks.size(), 2u);
  EXPECT_EQ(result.checks[1].error, "gone");
  EXPECT_FALSE(result.checks[1].ok);
  const RankFinished sent{"gpt", {3}, {5}, {1499}, std::string(64, 'c')};
  EXPECT_EQ(RoundTrip(sent).parameters_sha256, sent.parameters_sha256);
  EXPECT_EQ(RoundTrip(RankFinished{"gpt", {3}, {5}, {-1}, ""}).step, kNoStep);
  const Gap gap = RoundTrip(Gap{{3}, {9}, "disk full"});
  EXPECT_EQ(gap.from.value, 3u);
  EXPECT_EQ(gap.to.value, 9u);
  EXPECT_EQ(gap.reason, "disk full");
}

TEST(RoundTripTest, HelloAndWelcome) {
  const auto hello = FromProto(OverTheWire<v1::Hello>(SampleHello()));
  ASSERT_TRUE(hello.ok()) << hello.status();
  EXPECT_EQ(hello->state, SampleNode());
  EXPECT_EQ(hello->max_server_epoch, 8u);
  EXPECT_EQ(hello->oldest_seq.value, 100u);
  EXPECT_EQ(hello->token, "secret");
  const Welcome sent{9, "c0ffee", {17}, std::chrono::milliseconds(250)};
  const auto welcome = FromProto(OverTheWire<v1::Welcome>(sent));
  ASSERT_TRUE(welcome.ok()) << welcome.status();
  EXPECT_EQ(welcome->server_epoch, 9u);
  EXPECT_EQ(welcome->server_id, "c0ffee");
  EXPECT_EQ(welcome->resume_after.value, 17u);
  EXPECT_EQ(welcome->heartbeat_interval, sent.heartbeat_interval);
}

TEST(RoundTripTest, Commands) {
  const auto start = RoundTripCommand<StartCommand>(SampleStart());
  const auto sent = std::get<StartCommand>(SampleStart().body);
  EXPECT_EQ(start.argv, sent.argv);
  EXPECT_EQ(start.environment, sent.environment);
  EXPECT_EQ(start.ranks, sent.ranks);
  EXPECT_EQ(start.world_size, sent.world_size);
  EXPECT_EQ(start.node_rank, sent.node_rank);
  EXPECT_EQ(start.nodes, sent.nodes);
  EXPECT_EQ(start.master_address, sent.master_address);
  EXPECT_EQ(start.master_port, sent.master_port);
  EXPECT_EQ(start.checkpoint_directory, sent.checkpoint_directory);
  EXPECT_EQ(start.resume_step, sent.resume_step);
  EXPECT_EQ(start.target_steps, sent.target_steps);
  EXPECT_EQ(start.log_format, sent.log_format);
  EXPECT_EQ(start.log_path, sent.log_path);
  EXPECT_EQ(start.working_directory, sent.working_directory);
  EXPECT_EQ(RoundTripCommand<StopCommand>(
                CommandOf(StopCommand{std::chrono::seconds(3)}))
                .grace,
            std::chrono::seconds(3));
  const auto save =
      RoundTripCommand<SaveCommand>(CommandOf(SaveCommand{{50}, true, 4}));
  EXPECT_EQ(save.step.value, 50);
  EXPECT_TRUE(save.then_stop);
  EXPECT_EQ(save.save_seq, 4u);
  const auto verify = RoundTripCommand<VerifyCommand>(SampleVerify());
  ASSERT_EQ(verify.shards.size(), 2u);
  EXPECT_EQ(verify.shards[0].sha256, std::string(64, '0'));
  RoundTripCommand<ForgetCommand>(CommandOf(ForgetCommand{}));
}

// A report is sent until it is acknowledged, so what is written must always be
// readable, whatever a training process printed.
TEST(RoundTripTest, TextOfTrainingProcessesCannotPoisonAReport) {
  RankExited exited = SampleExited();
  exited.error = std::string(100'000, 'x') + "\xff";
  exited.signature = std::string("\xc3\x28\xed\xa0\x80\xf5\x80") + "ok\0z";
  exited.last_log_lines.assign(50, std::string(1000, '\xe9'));
  exited.last_log_lines[49] = "last \xe2\x82\xac";
  const RankExited read = RoundTrip(exited);
  EXPECT_EQ(read.error.size(), kMaxTextBytes);
  EXPECT_EQ(read.signature, "?(?????ok");
  ASSERT_EQ(read.last_log_lines.size(), 20u);
  EXPECT_EQ(read.last_log_lines[19], "last \xe2\x82\xac");
}

TEST(CleanTextTest, CutsBetweenCharacters) {
  EXPECT_EQ(CleanText("a\xe2\x82\xac", 3), "a");
  EXPECT_EQ(CleanText("a\xe2\x82\xac", 4), "a\xe2\x82\xac");
  EXPECT_EQ(CleanText("a\xe2\x82", 9), "a??");
  EXPECT_EQ(CleanText("\xf0\x9f\x98\x80\xc0\xaf", 9), "\xf0\x9f\x98\x80??");
  EXPECT_EQ(CleanText("", 9), "");
}

TEST(ConvertTest, WhatANewerPeerAddsIsNotFatal) {
  v1::Report proto = ReportProto(SampleExited());
  proto.mutable_exited()->set_phase(static_cast<v1::Phase>(99));
  EXPECT_EQ(std::get<RankExited>(FromProto(proto)->body).phase, Phase::kOther);
  proto = ReportProto(SampleResult());
  proto.mutable_result()->set_outcome(static_cast<v1::CommandOutcome>(99));
  EXPECT_EQ(std::get<CommandResult>(FromProto(proto)->body).outcome,
            CommandOutcome::kFailed);
  proto = ReportProto(SampleSteps());
  proto.mutable_steps()->set_metrics(0, 57);  // Not known, below the named.
  EXPECT_TRUE(FromProto(proto).ok());
}

TEST(ConvertTest, ErrorsLeadToTheField) {
  v1::NodeState node = NodeProto();
  node.mutable_runs(0)->mutable_ranks(1)->set_step(-2);
  EXPECT_EQ(std::string(FromProto(node).status().message()),
            "runs[0].ranks[1].step: found -2, expected -1..1125899906842624");
  v1::Report report = ReportProto(SampleShard());
  report.mutable_shard()->set_path("/a\nb");
  EXPECT_THAT(std::string(FromProto(report).status().message()),
              HasSubstr("shard.path: found '/a\\nb'"));
}

TEST(IsValidNameTest, OnlyNamesThatAreSafeInPaths) {
  for (const char* good : {"a", "gpt-1.2_x", "...", "A"}) {
    EXPECT_TRUE(IsValidName(good)) << good;
  }
  EXPECT_TRUE(IsValidName(std::string(64, 'a')));
  for (const std::string& bad :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"),
        std::string("a b"), std::string("a\0b", 3), std::string("\xc3\xa9"),
        std::string("a\n"), std::string(65, 'a')}) {
    EXPECT_FALSE(IsValidName(bad)) << bad;
  }
}

}  // namespace
}  // namespace steadyrun
