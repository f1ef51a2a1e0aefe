#include "server/metrics/server_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <set>
#include <sstream>

#include "base/digest.h"
#include "base/file.h"
#include "server/metrics/family_list.h"
#include "tests/fakes/service_fakes.h"

namespace steadyrun {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ServerMetricsTest : public ::testing::Test {
 protected:
  ServerMetricsTest() {
    ServiceStatus status;
    status.version = "1.2.3";
    status.commit = "abc";
    status.queue_depth = 5;
    status.storage_bytes = 4096;
    live_.Set(status);
    Show(RunPhase::kRunning);
  }

  void Show(RunPhase phase, WallTime ended = {}) {
    RunView run;
    run.state.spec.run = "gpt";
    run.state.spec.nodes = 2;
    run.state.spec.ranks_per_node = 4;
    run.state.phase = phase;
    run.state.ended = ended;
    run.state.attempts = 3;
    run.state.attempt_step = {41};
    run.state.time_seconds = {{"productive", 12.5}};
    run.loss = std::numeric_limits<double>::quiet_NaN();
    run.state.is_held = true;
    run.restarts_left = 7;
    run.ranks_alive = 8;
    NodeView node;
    node.state.node = "n1";
    node.status = "connected";
    EngineView view;
    view.runs = {run};
    view.nodes = {node, node};
    live_.Set(view);
  }

  void Commit(Change change) {
    Outcome outcome;
    outcome.changes.push_back(std::move(change));
    metrics_.Observe(outcome);
  }
  static Incident IncidentOf(std::int64_t number, IncidentState state) {
    Incident incident;
    incident.run = "gpt";
    incident.number = number;
    incident.kind = IncidentKind::kHang;
    incident.state = state;
    incident.detection_time = std::chrono::seconds(3);
    incident.recovery_time = std::chrono::seconds(20);
    return incident;
  }

  ManualClock clock_;
  SettableLive live_;
  AgentTrafficCounts traffic_;
  ServerMetrics metrics_{
      {&live_, &clock_, [this] { return traffic_; },
       [] {
         return std::vector<Pager::SinkCounts>{{"webhook", {2, 1, 0}}};
       },
       [] {
         return WrongTokenLimit::Counts{7, 3, 0, 2};
       }}};
};

TEST_F(ServerMetricsTest, ShowsTheLiveView) {
  traffic_.reports_accepted = 11;
  const std::string text = metrics_.Render();
  for (const char* line : {
           "steadyrun_build_info{version=\"1.2.3\",commit=\"abc\"} 1\n",
           "steadyrun_run_state{run=\"gpt\",state=\"running\"} 1\n",
           "steadyrun_run_state{run=\"gpt\",state=\"halted\"} 0\n",
           "steadyrun_run_step{run=\"gpt\"} 41\n",
           "steadyrun_run_loss{run=\"gpt\"} Nan\n",
           "steadyrun_run_attempts_total{run=\"gpt\"} 3\n",
           "steadyrun_run_restart_budget_remaining{run=\"gpt\"} 7\n",
           "steadyrun_run_held{run=\"gpt\"} 1\n",
           "steadyrun_run_ranks_reporting{run=\"gpt\"} 8\n",
           "steadyrun_run_time_seconds_total{run=\"gpt\",phase=\"productive\"} "
           "12.5\n",
           "steadyrun_nodes{state=\"connected\"} 2\n",
           "steadyrun_nodes{state=\"lost\"} 0\n",
           "steadyrun_agent_reports_total{outcome=\"accepted\"} 11\n",
           "steadyrun_notifications_total{sink=\"page_webhook\",outcome="
           "\"failed\"} "
           "1\n",
           "steadyrun_http_wrong_tokens_total{outcome=\"unknown\"} 7\n",
           "steadyrun_http_wrong_tokens_total{outcome=\"refused\"} 3\n",
           "steadyrun_http_wrong_token_addresses 2\n",
           "steadyrun_engine_queue_depth 5\n",
           "steadyrun_storage_bytes 4096\n",
           "# TYPE steadyrun_bugs_total counter\n",
           "# TYPE process_cpu_seconds_total counter\n",
       }) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST_F(ServerMetricsTest, AnIncidentCountsOnceHoweverOftenItIsCommitted) {
  Commit(IncidentOf(1, IncidentState::kOpen));
  Commit(IncidentOf(1, IncidentState::kOpen));
  Commit(IncidentOf(2, IncidentState::kOpen));
  const std::string labels = "{run=\"gpt\",severity=\"critical\"}";
  EXPECT_THAT(metrics_.Render(),
              HasSubstr("steadyrun_incidents_open" + labels + " 2\n"));
  Commit(IncidentOf(1, IncidentState::kRecovered));
  Commit(IncidentOf(1, IncidentState::kRecovered));
  const std::string text = metrics_.Render();
  EXPECT_THAT(text, HasSubstr("steadyrun_incidents_open" + labels + " 1\n"));
  EXPECT_THAT(text, HasSubstr("steadyrun_incidents_total{run=\"gpt\",kind="
                              "\"hang\",severity=\"critical\"} 2\n"));
  EXPECT_THAT(
      text,
      HasSubstr(
          "steadyrun_incident_recovery_seconds_count{kind=\"hang\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("steadyrun_incident_recovery_seconds_bucket{kind="
                              "\"hang\",le=\"15\"} 0\n"));
}

TEST_F(ServerMetricsTest, IncidentsOfAnEarlierLifeAreOpenButNotCounted) {
  Snapshot snapshot;
  snapshot.open_incidents = {IncidentOf(4, IncidentState::kOpen)};
  metrics_.Seed(snapshot);
  const std::string text = metrics_.Render();
  EXPECT_THAT(text, HasSubstr("steadyrun_incidents_open{run=\"gpt\",severity="
                              "\"critical\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("steadyrun_incidents_total{")));
}

TEST_F(ServerMetricsTest, StepsCheckpointsAndActionsAreCounted) {
  StepRow row;
  row.run = "gpt";
  row.loss = std::numeric_limits<double>::infinity();
  row.step_seconds = 0.5;
  row.step_seconds_max = 1.0;
  row.slowest_rank = 6;
  row.tokens = 100;
  row.ended = FromUnixMillis(1'700'000'000'500);
  Commit(row);
  Checkpoint checkpoint;
  checkpoint.run = "gpt";
  checkpoint.step = {30};
  checkpoint.state = CheckpointState::kVerified;
  checkpoint.saved = FromUnixMillis(1'700'000'000'000);
  Commit(checkpoint);
  checkpoint.state = CheckpointState::kDistrusted;
  checkpoint.step = {40};
  checkpoint.saved = FromUnixMillis(1'700'000'001'000);
  Commit(checkpoint);
  AuditEntry audit;
  audit.action = "restart";
  audit.outcome = "refused: the run is paused";
  Commit(audit);
  metrics_.ObserveCommit(std::chrono::milliseconds(2), true);
  metrics_.ObserveCommit(std::chrono::milliseconds(2), false);
  const std::string text = metrics_.Render();
  for (const char* line : {
           "steadyrun_run_nonfinite_steps_total{run=\"gpt\",signal=\"loss\"} 1",
           "steadyrun_run_nonfinite_steps_total{run=\"gpt\",signal=\"grad_"
           "norm\"} 0",
           "steadyrun_run_step_duration_seconds_count{run=\"gpt\"} 1",
           "steadyrun_run_step_duration_max_over_median_ratio{run=\"gpt\"} 2",
           "steadyrun_run_slowest_rank{run=\"gpt\"} 6",
           "steadyrun_run_tokens_total{run=\"gpt\"} 100",
           "steadyrun_run_last_step_timestamp_seconds{run=\"gpt\"} "
           "1700000000.5",
           "steadyrun_run_last_checkpoint_step{run=\"gpt\"} 30",
           "steadyrun_actions_total{action=\"restart\",outcome=\"refused\"} 1",
           "steadyrun_storage_commit_seconds_count 2",
           "steadyrun_storage_commit_failures_total 1",
       }) {
    EXPECT_THAT(text, HasSubstr(std::string(line) + "\n"));
  }
}

TEST_F(ServerMetricsTest, SeriesOfARunGoTenMinutesAfterItsEnd) {
  Commit(IncidentOf(1, IncidentState::kClosed));
  const WallTime now = clock_.WallNow();
  Show(RunPhase::kCompleted, now - std::chrono::minutes(9));
  EXPECT_THAT(metrics_.Render(), HasSubstr("run=\"gpt\""));
  Show(RunPhase::kCompleted, now - std::chrono::minutes(11));
  EXPECT_THAT(metrics_.Render(), Not(HasSubstr("run=\"gpt\"")));
}

TEST_F(ServerMetricsTest, LabelsAreOfABoundedSet) {
  for (int i = 0; i < 300; ++i) {
    AuditEntry audit;
    audit.action = "action-" + std::to_string(i);
    Commit(audit);
    Commit(IncidentOf(i + 1, IncidentState::kOpen));
  }
  const std::string text = metrics_.Render();
  for (const char* label : {"rank=", "step=", "incident=", "node=", "id="}) {
    EXPECT_THAT(text, Not(HasSubstr(std::string("{") + label)));
    EXPECT_THAT(text, Not(HasSubstr(std::string(",") + label)));
  }
  EXPECT_THAT(text, HasSubstr("action=\"other\",outcome=\"other\"} 236\n"));
  // One run, all told.
  EXPECT_LT(std::count(text.begin(), text.end(), '\n'), 400);
}

// What `promtool check metrics` asks of names, for machines without it.
TEST_F(ServerMetricsTest, NamesFollowTheConventions) {
  Commit(IncidentOf(1, IncidentState::kRecovered));
  StepRow row;
  row.run = "gpt";
  row.step_seconds = 1;
  row.ended = clock_.WallNow();
  Commit(row);
  std::string text = metrics_.Render();
  std::set<std::string> names;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("# TYPE ", 0) != 0) continue;
    std::istringstream words(line.substr(7));
    std::string name;
    std::string type;
    words >> name >> type;
    EXPECT_TRUE(names.insert(name).second) << name << " declared twice";
    const bool is_total =
        name.size() > 6 && name.compare(name.size() - 6, 6, "_total") == 0;
    EXPECT_EQ(is_total, type == "counter") << name << " is a " << type;
    EXPECT_EQ(name.find("_ms"), std::string::npos) << name;
    EXPECT_THAT(text, HasSubstr("# HELP " + name + " "));
  }
  EXPECT_GT(names.size(), 35u);
}

TEST_F(ServerMetricsTest, PromtoolFindsNothing) {
  if (std::system("command -v promtool >/dev/null") != 0) {
    GTEST_SKIP() << "promtool is not installed (Debian package prometheus)";
  }
  const auto file = std::filesystem::temp_directory_path() /
                    ("steadyrun-metrics-" + RandomHex64());
  ASSERT_TRUE(WriteFileAtomically(file.string(), metrics_.Render()).ok());
  EXPECT_EQ(
      std::system(("promtool check metrics < '" + file.string() + "'").c_str()),
      0);
  std::filesystem::remove(file);
}

TEST(BucketCountsTest, BucketsAreCumulativeAndBoundsInclusive) {
  BucketCounts counts({1, 2});
  for (const double value : {0.5, 1.0, 1.5, 2.5}) counts.Observe(value);
  const auto histogram = counts.Snapshot();
  ASSERT_EQ(histogram.bucket.size(), 3u);
  EXPECT_EQ(histogram.bucket[0].cumulative_count, 2u);
  EXPECT_EQ(histogram.bucket[1].cumulative_count, 3u);
  EXPECT_EQ(histogram.bucket[2].cumulative_count, 4u);
  EXPECT_EQ(histogram.sample_count, 4u);
  EXPECT_DOUBLE_EQ(histogram.sample_sum, 5.5);
}

}  // namespace
}  // namespace steadyrun
