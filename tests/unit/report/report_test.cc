#include "server/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace steadyrun {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kStartMs = 1'700'000'000'000;

WallTime At(double seconds) {
  return FromUnixMillis(kStartMs + static_cast<std::int64_t>(seconds * 1000));
}

RunState CompletedRun() {
  RunState state;
  state.spec.run = "gpt";
  state.spec.target_steps = 1500;
  state.phase = RunPhase::kCompleted;
  state.attempt = AttemptId{3};
  state.attempts = 3;
  state.max_step = Step{1499};
  state.created = At(0);
  state.ended = At(200);
  state.accounted = At(200);
  state.time_seconds = {{"productive", 170},
                        {"startup", 10},
                        {"detection", 0.5},
                        {"restarting", 12.5},
                        {"rework", 7}};
  state.finished = {{0, "abc"}, {1, "abc"}};
  return state;
}

Incident Crash(std::int64_t number, double onset, double recovery) {
  Incident incident;
  incident.number = number;
  incident.run = "gpt";
  incident.kind = IncidentKind::kCrash;
  incident.state = IncidentState::kRecovered;
  incident.culprit = {"node-1", Rank{3}};
  incident.step = Step{412};
  incident.onset = At(onset);
  incident.detected = At(onset + 0.25);
  incident.recovered = At(onset + recovery);
  incident.detection_time = std::chrono::milliseconds(250);
  incident.recovery_time = FromSeconds(recovery);
  incident.steps_lost = 12;
  incident.remediation = "restart";
  incident.reason = "rank 3 was ended by SIGKILL, which nobody here had sent";
  incident.evidence = {"exit of rank 3: SIGKILL"};
  return incident;
}

Incident AgentLost(std::int64_t number) {
  Incident incident = Crash(number, 90, 4);
  incident.kind = IncidentKind::kAgentLost;
  incident.severity = Severity::kWarning;
  incident.remediation = "none";
  return incident;
}

double SumOf(const std::map<std::string, double>& seconds) {
  double sum = 0;
  for (const auto& [cause, value] : seconds) sum += value;
  return sum;
}

TEST(ReportTest, LostSecondsAndProductiveSecondsSumToTheWallTime) {
  const StabilityReport report = BuildReport(CompletedRun(), {}, {}, At(9999));
  EXPECT_DOUBLE_EQ(report.wall_seconds, 200);
  EXPECT_DOUBLE_EQ(report.productive_seconds, 170);
  EXPECT_DOUBLE_EQ(SumOf(report.lost_seconds), 30);
  EXPECT_DOUBLE_EQ(report.ettr, 0.85);
}

TEST(ReportTest, TimeNotYetAccountedBelongsToThePhase) {
  RunState state = CompletedRun();
  state.phase = RunPhase::kHalted;
  state.ended = WallTime();
  const StabilityReport report = BuildReport(state, {}, {}, At(260));
  EXPECT_DOUBLE_EQ(report.lost_seconds.at("halted"), 60);
  EXPECT_DOUBLE_EQ(report.wall_seconds, 260);
  EXPECT_DOUBLE_EQ(SumOf(report.lost_seconds),
                   report.wall_seconds - report.productive_seconds);
}

TEST(ReportTest, FailuresAreWhatEndedAnAttempt) {
  const StabilityReport report = BuildReport(
      CompletedRun(), {AgentLost(3), Crash(2, 50, 6), Crash(1, 20, 4)}, {},
      At(200));
  EXPECT_EQ(report.failures, 2);
  EXPECT_DOUBLE_EQ(report.mtbf_seconds, 100);
  EXPECT_DOUBLE_EQ(report.mttr_seconds, 5);
  EXPECT_EQ(report.incidents.front().number, 1);
}

TEST(ReportTest, StepsAreCountedOnceWhereverTheTrainerBeginsToCount) {
  RunState state = CompletedRun();
  EXPECT_EQ(BuildReport(state, {}, {}, At(200)).steps_completed, 1500);
  state.max_step = Step{1500};  // 1-based.
  EXPECT_EQ(BuildReport(state, {}, {}, At(200)).steps_completed, 1500);
  state.max_step = kNoStep;
  EXPECT_EQ(BuildReport(state, {}, {}, At(200)).steps_completed, 0);
}

TEST(ReportTest, AnEarlierRunOfTheSameNameIsLeftOut) {
  RunState state = CompletedRun();
  state.first_attempt = AttemptId{5};
  Incident old = Crash(1, 20, 4);
  old.attempt = AttemptId{4};
  Incident now = Crash(2, 50, 6);
  now.attempt = AttemptId{5};
  Checkpoint checkpoint;
  checkpoint.attempt = AttemptId{4};
  const StabilityReport report =
      BuildReport(state, {old, now}, {checkpoint}, At(200));
  ASSERT_EQ(report.incidents.size(), 1u);
  EXPECT_EQ(report.incidents[0].number, 2);
  EXPECT_TRUE(report.checkpoints.empty());
}

TEST(ReportTest, ParametersThatDifferAreSaidToDiffer) {
  RunState state = CompletedRun();
  EXPECT_EQ(BuildReport(state, {}, {}, At(200)).final_parameters_sha256, "abc");
  state.finished[1] = "def";
  EXPECT_EQ(BuildReport(state, {}, {}, At(200)).final_parameters_sha256,
            "mismatch: rank 0 has abc, rank 1 has def");
  state.finished = {{0, ""}};
  EXPECT_EQ(BuildReport(state, {}, {}, At(200)).final_parameters_sha256, "");
}

TEST(ReportTest, JsonHasTheNamesAndNumbersOfTheContract) {
  Checkpoint checkpoint;
  checkpoint.step = Step{400};
  checkpoint.attempt = AttemptId{1};
  checkpoint.state = CheckpointState::kTrusted;
  checkpoint.saved = At(44);
  checkpoint.shards[0].size_bytes = 77;
  const auto json = nlohmann::json::parse(RenderReportJson(
      BuildReport(CompletedRun(), {Crash(1, 20, 4.5)}, {checkpoint}, At(200))));
  for (const char* name :
       {"run", "steps_completed", "attempts", "wall_seconds", "ettr",
        "mtbf_seconds", "mttr_seconds", "lost_seconds", "incidents",
        "checkpoints", "final_parameters_sha256"}) {
    EXPECT_TRUE(json.contains(name)) << name;
  }
  const auto& incident = json["incidents"][0];
  EXPECT_EQ(incident["kind"], "crash");
  EXPECT_EQ(incident["culprit"]["node"], "node-1");
  EXPECT_EQ(incident["culprit"]["rank"], 3);
  EXPECT_DOUBLE_EQ(incident["onset_unix"], 1'700'000'020.0);
  EXPECT_DOUBLE_EQ(incident["detected_unix"], 1'700'000'020.25);
  EXPECT_DOUBLE_EQ(incident["recovered_unix"], 1'700'000'024.5);
  EXPECT_DOUBLE_EQ(incident["detection_seconds"], 0.25);
  EXPECT_DOUBLE_EQ(incident["recovery_seconds"], 4.5);
  EXPECT_EQ(incident["steps_lost"], 12);
  EXPECT_EQ(incident["remediation"], "restart");
  EXPECT_EQ(incident["evidence"][0], "exit of rank 3: SIGKILL");
  EXPECT_EQ(json["checkpoints"][0]["step"], 400);
  EXPECT_EQ(json["checkpoints"][0]["size_bytes"], 77);
}

TEST(ReportTest, OpenIncidentsAndOddTextsAreValidJson) {
  Incident open = Crash(1, 20, 0);
  open.state = IncidentState::kOpen;
  open.recovered = WallTime();
  open.evidence = {std::string("cut inside a character: \xc3")};
  const auto json = nlohmann::json::parse(
      RenderReportJson(BuildReport(CompletedRun(), {open}, {}, At(200))));
  EXPECT_TRUE(json["incidents"][0]["recovered_unix"].is_null());
  EXPECT_TRUE(json["incidents"][0]["recovery_seconds"].is_null());
}

TEST(ReportTest, NumbersThatAreNotFiniteAreNull) {
  RunState state = CompletedRun();
  Checkpoint checkpoint;
  checkpoint.save_seconds = std::numeric_limits<double>::quiet_NaN();
  const auto json = nlohmann::json::parse(
      RenderReportJson(BuildReport(state, {}, {checkpoint}, At(200))));
  EXPECT_TRUE(json["checkpoints"][0]["save_seconds"].is_null());
}

TEST(ReportTest, TextShowsTimesIncidentsAndParametersIn80Columns) {
  Incident long_one = Crash(2, 60, 6);
  long_one.reason = std::string(300, 'x') + "\x1b[31m";
  const std::string text = RenderReportText(
      BuildReport(CompletedRun(), {Crash(1, 20, 4.5), long_one}, {}, At(200)));
  EXPECT_THAT(text, HasSubstr("1,500 of 1,500"));
  EXPECT_THAT(text, HasSubstr("85.00 %"));
  EXPECT_THAT(text, HasSubstr("node-1 rank 3"));
  EXPECT_THAT(text, HasSubstr("rank 3 was ended by SIGKILL"));
  EXPECT_THAT(text, HasSubstr("sha256 abc"));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  std::size_t begin = 0;
  for (std::size_t end; (end = text.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    std::size_t columns = 0;
    for (std::size_t i = begin; i < end; ++i) {
      columns += (static_cast<unsigned char>(text[i]) & 0xc0) != 0x80;
    }
    EXPECT_LE(columns, 80u) << text.substr(begin, end - begin);
  }
}

TEST(ReportTest, TextOfARunWithoutFaultsSaysSo) {
  const std::string text =
      RenderReportText(BuildReport(CompletedRun(), {}, {}, At(200)));
  EXPECT_THAT(text, HasSubstr("no failure"));
  EXPECT_THAT(text, HasSubstr("No incidents."));
}

}  // namespace
}  // namespace steadyrun
