#include "server/policy/policy_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "server/policy/policy_text.h"

namespace steadyrun {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::HasSubstr;

struct BadCase {
  const char* text;
  const char* message;
};

// Every message is checked to the letter: it is what a person mends a file by.
const std::vector<BadCase>& BadCases() {
  // clang-format off
  static const auto& cases = *new std::vector<BadCase>{
      {R"(

[detect.hang]

timout = "10s")",
       R"(policy.toml:5:1: unknown key 'detect.hang.timout' (did you mean 'timeout'?))"},
      {R"(mod = 1)",
       R"(policy.toml:1:1: unknown key 'mod' (known here: checkpoint, detect, incident, parallel, quarantine, restart, timeouts))"},
      {R"([incident.crahs]
mode = "act")",
       R"(policy.toml:1:11: unknown key 'incident.crahs' (did you mean 'crash'?))"},
      {R"([incident.crash]
mode = "atc")",
       R"(policy.toml:2:8: 'incident.crash.mode' must be one of observe, advise, act, found "atc" (did you mean 'act'?))"},
      {R"([incident.crash]
mode = 3)",
       R"(policy.toml:2:8: 'incident.crash.mode' must be one of observe, advise, act, found 3)"},
      {R"([incident.crash]
mode = "panic")",
       R"(policy.toml:2:8: 'incident.crash.mode' must be one of observe, advise, act, found "panic")"},
      {R"([incident.crash]
mode = "")",
       R"(policy.toml:2:8: 'incident.crash.mode' must be one of observe, advise, act, found "")"},
      {R"([incident.crash]
ladder = [])",
       R"(policy.toml:2:10: 'incident.crash.ladder' must be a list of 1 to 8 words, found a list of 0)"},
      {R"([incident.crash]
ladder = "restart")",
       R"(policy.toml:2:10: 'incident.crash.ladder' must be a list of 1 to 8 words, found "restart")"},
      {R"([incident.crash]
ladder = ["restrat"])",
       R"(policy.toml:2:11: 'incident.crash.ladder' must be one of restart, replace_node, rollback, page, halt, found "restrat" (did you mean 'restart'?))"},
      {R"([incident.crash]
ladder = ["restart", 5])",
       R"(policy.toml:2:22: 'incident.crash.ladder' must be one of restart, replace_node, rollback, page, halt, found 5)"},
      {R"([incident.crash]
ladder = ["save"])",
       R"(policy.toml:2:11: 'incident.crash.ladder' must be one of restart, replace_node, rollback, page, halt, found "save")"},
      {R"([incident.nan]
ladder = ["restart"])",
       R"(policy.toml:2:11: 'incident.nan.ladder' must be one of rollback, page, halt, found "restart")"},
      {R"([incident.agent_lost]
ladder = ["restart"])",
       R"(policy.toml:2:11: 'incident.agent_lost.ladder' must be one of none, page, found "restart")"},
      {R"([incident.checkpoint_bad]
ladder = ["rollback"])",
       R"(policy.toml:2:11: 'incident.checkpoint_bad.ladder' must be one of none, save, page, found "rollback")"},
      {R"([incident.crash]
ladder = ["restart","restart","restart","restart","restart","restart","restart","restart","halt"])",
       R"(policy.toml:2:10: 'incident.crash.ladder' must be a list of 1 to 8 words, found a list of 9)"},
      {R"([incident.crash]
cooldown = "soon")",
       R"(policy.toml:2:12: 'incident.crash.cooldown' must be a duration such as "10s", "500ms" or "2m", found "soon")"},
      {R"([incident.crash]
cooldown = "25h")",
       R"(policy.toml:2:12: 'incident.crash.cooldown' must be from 0s to 24h, found "25h")"},
      {R"([incident.crash]
cooldown = -1)",
       R"(policy.toml:2:12: 'incident.crash.cooldown' must be a duration such as "10s", "500ms" or "2m", found -1)"},
      {R"([incident.crash]
cooldown = true)",
       R"(policy.toml:2:12: 'incident.crash.cooldown' must be a duration such as "10s", "500ms" or "2m", found true)"},
      {R"([incident]
crash = "act")",
       R"(policy.toml:2:9: 'incident.crash' must be a table, found "act")"},
      {R"(incident = 5)",
       R"(policy.toml:1:12: 'incident' must be a table, found 5)"},
      {R"([incident.crash]
mode = "act"
modes = "act")",
       R"(policy.toml:3:1: unknown key 'incident.crash.modes' (did you mean 'mode'?))"},
      {R"([restart]
per_hour = "ten")",
       R"(policy.toml:2:12: 'restart.per_hour' must be a whole number from 0 to 1000, found "ten")"},
      {R"([restart]
per_hour = -1)",
       R"(policy.toml:2:12: 'restart.per_hour' must be a whole number from 0 to 1000, found -1)"},
      {R"([restart]
per_hour = 1001)",
       R"(policy.toml:2:12: 'restart.per_hour' must be a whole number from 0 to 1000, found 1001)"},
      {R"([restart]
per_hour = 1.5)",
       R"(policy.toml:2:12: 'restart.per_hour' must be a whole number from 0 to 1000, found 1.5)"},
      {R"([restart]
per_hour = 99999999999)",
       R"(policy.toml:2:12: 'restart.per_hour' must be a whole number from 0 to 1000, found 99999999999)"},
      {R"([restart]
per_days = 5)",
       R"(policy.toml:2:1: unknown key 'restart.per_days' (did you mean 'per_day'?))"},
      {R"([restart]
same_failure_limit = 0)",
       R"(policy.toml:2:22: 'restart.same_failure_limit' must be a whole number from 1 to 100, found 0)"},
      {R"([restart]
same_failure_steps = -1)",
       R"(policy.toml:2:22: 'restart.same_failure_steps' must be a whole number from 0 to 1000000, found -1)"},
      {R"([restart]
no_progress_limit = 101)",
       R"(policy.toml:2:21: 'restart.no_progress_limit' must be a whole number from 0 to 100, found 101)"},
      {R"([restart]
backoff = "10s")",
       R"(policy.toml:2:11: 'restart.backoff' must be a list of 1 to 16 durations, found "10s")"},
      {R"([restart]
backoff = [])",
       R"(policy.toml:2:11: 'restart.backoff' must be a list of 1 to 16 durations, found a list of 0)"},
      {R"([restart]
backoff = ["10s", "ten"])",
       R"(policy.toml:2:19: 'restart.backoff' must be a duration such as "10s", "500ms" or "2m", found "ten")"},
      {R"([restart]
backoff = ["1s", "48h"])",
       R"(policy.toml:2:18: 'restart.backoff' must be from 0s to 24h, found "48h")"},
      {R"([restart]
backoff = [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16])",
       R"(policy.toml:2:11: 'restart.backoff' must be a list of 1 to 16 durations, found a list of 17)"},
      {R"([restart]
witness_minimum = "10s")",
       R"(policy.toml:2:1: unknown key 'restart.witness_minimum' (did you mean 'detect.node.witness_minimum'?))"},
      {R"([restart]
zzzzzz = 1)",
       R"(policy.toml:2:1: unknown key 'restart.zzzzzz' (known here: backoff, no_progress_limit, per_day, per_hour, same_failure_limit, same_failure_steps))"},
      {R"([quarantine]
blamed_limit = 17)",
       R"(policy.toml:2:16: 'quarantine.blamed_limit' must be a whole number from 0 to 16, found 17)"},
      {R"([quarantine]
blamed_within = "1s")",
       R"(policy.toml:2:17: 'quarantine.blamed_within' must be from 1m to 720h, found "1s")"},
      {R"([quarantine]
use_as_last_resort = 1)",
       R"(policy.toml:2:22: 'quarantine.use_as_last_resort' must be true or false, found 1)"},
      {R"([quarantine]
use_as_last_resort = "yes")",
       R"(policy.toml:2:22: 'quarantine.use_as_last_resort' must be true or false, found "yes")"},
      {R"([detect.hang]
timeout = "100ms")",
       R"(policy.toml:2:11: 'detect.hang.timeout' must be from 1s to 24h, found "100ms")"},
      {R"([detect.hang]
timeout = "1h"
timeout_max = "10m")",
       R"(policy.toml:2:11: 'detect.hang.timeout' (1h) must not exceed 'detect.hang.timeout_max' (10m))"},
      {R"([detect.hang]
factor = 1)",
       R"(policy.toml:2:10: 'detect.hang.factor' must be a number from 1.5 to 1000, found 1)"},
      {R"([detect.hang]
factor = nan)",
       R"(policy.toml:2:10: 'detect.hang.factor' must be a number from 1.5 to 1000, found nan)"},
      {R"([detect.hang]
factor = inf)",
       R"(policy.toml:2:10: 'detect.hang.factor' must be a number from 1.5 to 1000, found inf)"},
      {R"([detect.hang]
factor = "5")",
       R"(policy.toml:2:10: 'detect.hang.factor' must be a number from 1.5 to 1000, found "5")"},
      {R"([detect.hang]
busy_factor = 0.5)",
       R"(policy.toml:2:15: 'detect.hang.busy_factor' must be a number from 1 to 100, found 0.5)"},
      {R"([detect.hang.phase]
chekpoint = "5m")",
       R"(policy.toml:2:1: unknown key 'detect.hang.phase.chekpoint' (did you mean 'checkpoint'?))"},
      {R"([detect.hang.phase]
checkpoint = "5 minutes")",
       R"(policy.toml:2:14: 'detect.hang.phase.checkpoint' must be a duration such as "10s", "500ms" or "2m", found "5 minutes")"},
      {R"([detect.hang.phase]
checkpoint = "500ms")",
       R"(policy.toml:2:14: 'detect.hang.phase.checkpoint' must be 0 (part of the step) or at least 1s, found 500ms)"},
      {R"([detect.hang]
phase = "checkpoint")",
       R"(policy.toml:2:9: 'detect.hang.phase' must be a table, found "checkpoint")"},
      {R"([detect.hang.phase]
checkpoint = 2023-01-01)",
       R"(policy.toml:2:14: 'detect.hang.phase.checkpoint' must be a duration such as "10s", "500ms" or "2m", found a date)"},
      {R"([detect.hang.phase]
checkpoint = [1])",
       R"(policy.toml:2:14: 'detect.hang.phase.checkpoint' must be a duration such as "10s", "500ms" or "2m", found a list of 1)"},
      {R"([detect.hnag]
timeout = "10s")",
       R"(policy.toml:1:9: unknown key 'detect.hnag' (did you mean 'hang'?))"},
      {R"([detect.node]
silent_after = "500ms")",
       R"(policy.toml:2:16: 'detect.node.silent_after' must be from 1s to 1h, found "500ms")"},
      {R"([detect.node]
mass_share = 1.5)",
       R"(policy.toml:2:14: 'detect.node.mass_share' must be a number from 0.1 to 1, found 1.5)"},
      {R"([detect.node]
silent_after = { seconds = 3 })",
       R"(policy.toml:2:16: 'detect.node.silent_after' must be a duration such as "10s", "500ms" or "2m", found a table)"},
      {R"([detect.node]
witness_steps = 0)",
       R"(policy.toml:2:17: 'detect.node.witness_steps' must be a number from 1 to 100, found 0)"},
      {R"([detect.nan]
overflow_steps = 10.0)",
       R"(policy.toml:2:18: 'detect.nan.overflow_steps' must be a whole number from 0 to 10000, found 10.0)"},
      {R"([checkpoint]
interval = "500ms")",
       R"(policy.toml:2:12: 'checkpoint.interval' must be 0 (off) or at least 1s, found 500ms)"},
      {R"([checkpoint]
interval = "10"
intervall_steps = 5)",
       R"(policy.toml:3:1: unknown key 'checkpoint.intervall_steps' (did you mean 'interval_steps'?))"},
      {R"([checkpoint]
interval_steps = -5)",
       R"(policy.toml:2:18: 'checkpoint.interval_steps' must be a whole number from 0 to 1000000000, found -5)"},
      {R"([checkpoint]
save_attempts = 0)",
       R"(policy.toml:2:17: 'checkpoint.save_attempts' must be a whole number from 1 to 16, found 0)"},
      {R"([checkpoint]
trust_steps = "20 steps")",
       R"(policy.toml:2:15: 'checkpoint.trust_steps' must be a whole number from 0 to 1000000000, found "20 steps")"},
      {R"([timeouts]
start = "1s")",
       R"(policy.toml:2:9: 'timeouts.start' must be from 5s to 24h, found "1s")"},
      {R"([timeouts]
stop_grace = "11m")",
       R"(policy.toml:2:14: 'timeouts.stop_grace' must be from 0s to 10m, found "11m")"},
      {R"([timeouts]
stop = "1m30")",
       R"(policy.toml:2:8: 'timeouts.stop' must be a duration such as "10s", "500ms" or "2m", found "1m30")"},
      {R"([timeouts]
stop = "1s1m")",
       R"(policy.toml:2:8: 'timeouts.stop' must be a duration such as "10s", "500ms" or "2m", found "1s1m")"},
      {R"([timeouts]
stop = "1e3s")",
       R"(policy.toml:2:8: 'timeouts.stop' must be a duration such as "10s", "500ms" or "2m", found "1e3s")"},
      {R"([timeouts]
stop = "99999999999999999999s")",
       R"(policy.toml:2:8: 'timeouts.stop' must be a duration such as "10s", "500ms" or "2m", found "99999999999999999999s")"},
      {R"([timeouts
stop = "1s")",
       R"(policy.toml:1:10: syntax error: Error while parsing table header: expected ']', saw '\n')"},
      {R"(stop =)",
       R"(policy.toml:1:7: syntax error: Error while parsing key-value pair: encountered end-of-file)"},
      {R"([restart]
per_hour = 1
per_hour = 2)",
       R"(policy.toml:3:12: syntax error: Error while parsing key-value pair: cannot redefine existing integer 'per_hour')"},
      {R"("detect.hang.timeout" = "10s")",
       R"(policy.toml:1:1: unknown key '"detect.hang.timeout"' (known here: checkpoint, detect, incident, parallel, quarantine, restart, timeouts))"},
      {R"(["incident.crash"]
mode = "act")",
       R"(policy.toml:1:2: unknown key '"incident.crash"' (known here: checkpoint, detect, incident, parallel, quarantine, restart, timeouts))"},
      {R"(name = "unterminated)",
       R"(policy.toml:1:21: syntax error: Error while parsing string: encountered end-of-file)"},
      {R"([[incident]]
mode = "act")",
       R"(policy.toml:1:1: 'incident' must be a table, found a list of 1)"},
      {R"([incident.crash]
mode = "atc"
[restart]
per_hour = 0
per_day = -2
[detect.hang]
factr = 2)",
       R"(policy.toml:2:8: 'incident.crash.mode' must be one of observe, advise, act, found "atc" (did you mean 'act'?)
policy.toml:5:11: 'restart.per_day' must be a whole number from 0 to 10000, found -2
policy.toml:7:1: unknown key 'detect.hang.factr' (did you mean 'factor'?))"},
      {R"([timeouts]
stop = "")",
       R"(policy.toml:2:8: 'timeouts.stop' must be a duration such as "10s", "500ms" or "2m", found "")"},
      {R"([timeouts]
"sto\u0007p" = 1)",
       R"(policy.toml:2:1: unknown key 'timeouts."sto?p"' (did you mean 'stop'?))"},
      {R"([restart]
silent_aftr = "3s")",
       R"(policy.toml:2:1: unknown key 'restart.silent_aftr' (did you mean 'detect.node.silent_after'?))"},
      {R"([detect.hang]
timeout = 10
timeout_max = 9.5)",
       R"(policy.toml:2:11: 'detect.hang.timeout' (10s) must not exceed 'detect.hang.timeout_max' (9500ms))"},
  };
  // clang-format on
  return cases;
}

TEST(PolicyParserTest, RefusesBadInputWithFileLineColumnFoundAndExpected) {
  ASSERT_GE(BadCases().size(), 60u);
  for (const BadCase& bad : BadCases()) {
    const auto policy = ParsePolicy(bad.text, "policy.toml");
    ASSERT_FALSE(policy.ok()) << "accepted: " << bad.text;
    EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(std::string(policy.status().message()), bad.message)
        << "for: " << bad.text;
  }
}

TEST(PolicyParserTest, EmptyTextIsTheDefaultPolicy) {
  const auto policy = ParsePolicy("", "policy.toml");

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(*policy, DefaultPolicy());
}

TEST(PolicyParserTest, SetsWhatTheTextSaysAndKeepsTheRest) {
  const auto policy = ParsePolicy(R"(
[incident.hang]
mode = "advise"
ladder = ["restart", "halt"]
cooldown = "90s"
[restart]
per_hour = 4
backoff = [0, "1m30s"]
[detect.hang]
timeout = 7.5
factor = 3
[detect.hang.phase]
checkpoint = "1h30m"
rollout = "20m"
compile = 0
[checkpoint]
interval = "5m"
)",
                                  "policy.toml");

  ASSERT_TRUE(policy.ok()) << policy.status();
  Policy expected = DefaultPolicy();
  KindPolicy& hang = expected.For(IncidentKind::kHang);
  hang.mode = Mode::kAdvise;
  hang.ladder = {Remedy::kRestart, Remedy::kHalt};
  hang.cooldown = seconds(90);
  expected.restart.restarts_per_hour = 4;
  expected.restart.backoff = {seconds(0), seconds(90)};
  expected.detect.hang.minimum = milliseconds(7500);
  expected.detect.hang.factor = 3;
  expected.detect.hang.phase[Phase::kCheckpoint] = minutes(90);
  expected.detect.hang.phase[Phase::kRollout] = minutes(20);
  expected.detect.hang.phase.erase(Phase::kCompile);
  expected.detect.checkpoint.interval = minutes(5);
  EXPECT_EQ(*policy, expected);
}

TEST(PolicyParserTest, ReportsAtMostTwentyErrorsAndCountsTheRest) {
  std::string text = "[restart]\n";
  for (int i = 0; i < 30; ++i) {
    text += "wrong_key_number_" + std::to_string(i) + " = 1\n";
  }

  const auto policy = ParsePolicy(text, "p.toml");

  ASSERT_FALSE(policy.ok());
  const std::string message(policy.status().message());
  EXPECT_THAT(message, HasSubstr("p.toml: and 10 more errors"));
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 20);
}

TEST(PolicyParserTest, RefusesTextOverItsLimit) {
  const auto policy =
      ParsePolicy(std::string((256 << 10) + 1, '#'), "huge.toml");

  ASSERT_FALSE(policy.ok());
  EXPECT_EQ(std::string(policy.status().message()),
            "huge.toml: the text has 262145 bytes, at most 262144 are read; is "
            "it the right file?");
}

// Goal: no text ends the service. Method: a whole policy with one to eight
// bytes changed, cut or doubled, 3,000 times.
TEST(PolicyParserTest, AnyDamageToAPolicyIsAnswered) {
  const std::string whole = RenderPolicy(DefaultPolicy());
  std::uint64_t random = 0x9e3779b97f4a7c15u;
  const auto next = [&random](std::size_t below) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::size_t>(random >> 33) % below;
  };
  const std::string_view bytes = "[]{}=\"'.#,\n\t\\01-_ a\xff\x01";
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = whole;
    for (std::size_t edits = 1 + next(8); edits > 0; --edits) {
      const std::size_t at = next(text.size());
      switch (next(3)) {
        case 0:
          text[at] = bytes[next(bytes.size())];
          break;
        case 1:
          text.erase(at, 1 + next(20));
          break;
        default:
          text.insert(at, text.substr(at, 1 + next(20)));
      }
    }
    const auto policy = ParsePolicy(text, "p.toml");
    if (policy.ok()) {
      // What is accepted is whole: it can be written and read again.
      ASSERT_TRUE(ParsePolicy(RenderPolicy(*policy), "again.toml").ok());
    } else {
      ++refused;
      ASSERT_FALSE(policy.status().message().empty());
    }
  }
  EXPECT_GT(refused, 500);
}

TEST(PolicyTextTest, ReadsBackToAnEqualPolicy) {
  Policy changed = DefaultPolicy();
  changed.For(IncidentKind::kCrash).mode = Mode::kAdvise;
  changed.For(IncidentKind::kNan).ladder = {Remedy::kRollback, Remedy::kHalt};
  changed.For(IncidentKind::kHang).cooldown = milliseconds(1500);
  changed.restart.backoff = {seconds(1)};
  changed.detect.hang.factor = 2.5;
  changed.detect.hang.phase.erase(Phase::kCompile);
  changed.detect.hang.phase[Phase::kReward] = hours(2);
  changed.detect.silence.mass_share = 0.25;
  for (const Policy& policy :
       {DefaultPolicy(), ObserveOnly(DefaultPolicy()), changed}) {
    const auto read = ParsePolicy(RenderPolicy(policy), "rendered.toml");

    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, policy);
  }
}

// STEADYRUN_WRITE_EXAMPLES=1 writes the file anew.
TEST(PolicyTextTest, TheExampleFileIsTheDefaultPolicy) {
  constexpr const char* kExample = "deploy/config/policy.example.toml";
  if (std::getenv("STEADYRUN_WRITE_EXAMPLES") != nullptr) {
    std::ofstream(kExample) << RenderPolicy(DefaultPolicy());
  }
  const auto text = ReadFile(kExample);

  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, RenderPolicy(DefaultPolicy()))
      << "run this test once with STEADYRUN_WRITE_EXAMPLES=1";
}

}  // namespace
}  // namespace steadyrun
