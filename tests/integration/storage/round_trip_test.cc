// Every kind of change, every field of it, through the disk and back.

#include <gmock/gmock.h>

#include <chrono>

#include "tests/integration/storage/fixture.h"

namespace steadyrun {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class RoundTripTest : public StoreTest {};

// Names each field, so that one added to RunState does not compile here until
// it is filled, and then fails until it is stored.
RunState FullRun(Now now) {
  RunState full;
  auto& [spec, phase, phase_reason, phase_since, phase_deadline, after_stop,
         attempt, placement, master_address, master_port, resume_step,
         resume_attempt, rollback_below, rollback_to, skips,
         learning_rate_factor, is_held, hold_reason, held_incident, max_step,
         attempt_step, max_step_at_start, save_seq, save_step, save_then_stop,
         save_request_id, save_margin_doublings, restarts,
         restarts_without_progress, guard_from, avoid_node, open_incident,
         incidents, created, ended, attempts, first_attempt, finished,
         time_seconds, accounted] = full;
  auto& [run, argv, working_directory, environment, nodes, ranks_per_node,
         checkpoint_directory, target_steps, policy_toml, policy_file,
         log_format, log_path] = spec;
  run = "gpt.small-1";
  argv = {"python3", "-u", "train.py", "--text", "a b\n\xc3"};
  working_directory = "/srv/train";
  environment = {{"A", "1"}, {"B", "\xff"}};
  nodes = 3;
  ranks_per_node = 8;
  checkpoint_directory = "/srv/ckpt";
  target_steps = 1500;
  policy_toml = "[crash]\nmode = \"act\"\n";
  policy_file = "policy.toml";
  log_format = "megatron";
  log_path = "/logs/\xff{rank}.log";
  phase = RunPhase::kStopping;
  phase_reason = "rank 3 was ended by SIGKILL";
  phase_since = {now.mono - seconds(3), now.wall - seconds(3)};
  phase_deadline = now.mono + milliseconds(12'345);
  after_stop = AfterStop::kHalt;
  attempt = AttemptId{7};
  placement = {{"node-0", 0, "boot:a", StopProof::kConfirmed},
               {"node-2", 1, "boot:b", StopProof::kRebooted},
               {"node-3", 2, "boot:c", StopProof::kFenced}};
  master_address = "10.0.0.1";
  master_port = 29'500;
  resume_step = Step{400};
  resume_attempt = AttemptId{6};
  rollback_below = Step{410};
  rollback_to = Step{0};
  skips = {{Step{390}, Step{600}}, {Step{700}, Step{701}}};
  learning_rate_factor = 0.9;
  is_held = true;
  hold_reason = "held by alice: the switch is being replaced";
  held_incident = 3;
  max_step = Step{512};
  attempt_step = Step{505};
  max_step_at_start = Step{480};
  save_seq = 17;
  save_step = Step{520};
  save_then_stop = true;
  save_request_id = "req-1";
  save_margin_doublings = 2;
  restarts = {{now.wall - seconds(60), now.mono - seconds(60), AttemptId{5},
               IncidentKind::kNan, "nan@300", Step{300}, true, true},
              {now.wall - seconds(9), now.mono - seconds(9), AttemptId{6},
               IncidentKind::kNodeLost, "", kNoStep, false, false}};
  restarts_without_progress = 2;
  guard_from = AttemptId{4};
  avoid_node = "node-1";
  open_incident = 9;
  incidents = 9;
  created = now.wall - seconds(500);
  ended = now.wall - seconds(1);
  attempts = 7;
  first_attempt = AttemptId{3};
  finished = {{0, "abc"}, {5, ""}};
  time_seconds = {{"productive", 321.125}, {"restarting", 1e-9}};
  accounted = now.wall - milliseconds(7);
  return full;
}

TEST_F(RoundTripTest, RunStateWithEveryField) {
  Open();
  const RunState saved = FullRun(clock_.Both());
  Apply({saved});
  Open();
  const Snapshot snapshot = LoadAll();
  ASSERT_EQ(snapshot.runs.size(), 1u);
  EXPECT_EQ(snapshot.runs[0], saved);
}

TEST_F(RoundTripTest, RunStateOfDefaults) {
  Open();
  RunState saved;
  saved.spec.run = "r";
  saved.phase_since = clock_.Both();
  Apply({saved});
  const Snapshot snapshot = LoadAll();
  ASSERT_EQ(snapshot.runs.size(), 1u);
  EXPECT_EQ(snapshot.runs[0], saved);
  EXPECT_EQ(snapshot.runs[0].phase_deadline, MonoTime::max());
}

TEST_F(RoundTripTest, EveryPhaseAndWordOfARun) {
  Open();
  for (int phase = 0; phase <= static_cast<int>(RunPhase::kStopped); ++phase) {
    for (int after = 0; after <= static_cast<int>(AfterStop::kEnd); ++after) {
      RunState saved = MakeRun("r");
      saved.phase = static_cast<RunPhase>(phase);
      saved.after_stop = static_cast<AfterStop>(after);
      Apply({saved});
      const absl::StatusOr<RunState> loaded = store_->history().Run("r");
      ASSERT_TRUE(loaded.ok()) << loaded.status();
      EXPECT_EQ(loaded->phase, saved.phase);
      EXPECT_EQ(loaded->after_stop, saved.after_stop);
    }
  }
}

// A process that starts an hour later has another monotonic clock: what had
// 12 s left then has 12 s left now, and nothing fires at once.
TEST_F(RoundTripTest, MonotonicTimesAreRebased) {
  Open();
  const Now saved_at = clock_.Both();
  const RunState saved = FullRun(saved_at);
  Apply({saved});
  const Now later{MonoTime(seconds(5)), saved_at.wall + std::chrono::hours(1)};
  clock_.Set(later);
  Open();
  const Snapshot snapshot = LoadAll();
  ASSERT_EQ(snapshot.runs.size(), 1u);
  const RunState& loaded = snapshot.runs[0];
  EXPECT_EQ(loaded.phase_deadline, later.mono + milliseconds(12'345));
  EXPECT_EQ(loaded.phase_since.mono, later.mono - seconds(3));
  EXPECT_EQ(loaded.phase_since.wall, saved.phase_since.wall);
  ASSERT_EQ(loaded.restarts.size(), 2u);
  EXPECT_EQ(loaded.restarts[0].at_mono, later.mono - seconds(60));
  EXPECT_EQ(loaded.restarts[0].at, saved.restarts[0].at);
}

TEST_F(RoundTripTest, ADeadlineThatHadPassedIsDueOnce) {
  Open();
  RunState saved = MakeRun("r");
  saved.phase_deadline = clock_.MonoNow() - seconds(30);
  Apply({saved});
  clock_.Set({MonoTime(seconds(1)), clock_.WallNow()});
  Open();
  EXPECT_EQ(LoadAll().runs.at(0).phase_deadline, clock_.MonoNow());
}

Incident FullIncident(const RunId& run, std::int64_t number, WallTime at) {
  Incident incident;
  // As many as there are fields: a new one must be filled in below.
  [[maybe_unused]] const auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11,
                                f12, f13, f14, f15, f16, f17, f18, f19, f20,
                                f21, f22, f23] = incident;
  incident.number = number;
  incident.run = run;
  incident.kind = IncidentKind::kStorage;
  incident.severity = Severity::kWarning;
  incident.state = IncidentState::kOpen;
  incident.attempt = AttemptId{3};
  incident.culprit = {"node-1", Rank{4}};
  incident.step = Step{77};
  incident.onset = at;
  incident.detected = at + milliseconds(1500);
  incident.recovered = at + milliseconds(9000);
  incident.detection_time = std::chrono::nanoseconds(1'500'000'001);
  incident.recovery_time = std::chrono::nanoseconds(9'000'000'007);
  incident.steps_lost = 12;
  incident.remediation = "restart";
  incident.reason = "why\xff";
  incident.signature = "SIGKILL";
  incident.evidence = {"a", "", "b"};
  incident.timeline = {{at, "began"}, {at + seconds(1), "went on"}};
  return incident;
}

TEST_F(RoundTripTest, Incidents) {
  Open();
  const Incident open = FullIncident("a", 1, clock_.WallNow());
  Incident closed = FullIncident("b", 2, clock_.WallNow());
  closed.state = IncidentState::kRecovered;
  Apply({open, closed});
  const Snapshot snapshot = LoadAll();
  EXPECT_THAT(snapshot.open_incidents, testing::ElementsAre(open));
  const auto all = store_->history().Incidents({});
  ASSERT_TRUE(all.ok());
  EXPECT_THAT(*all, testing::UnorderedElementsAre(open, closed));
  const auto of_b = store_->history().Incidents({.run = "b"});
  EXPECT_THAT(*of_b, testing::ElementsAre(closed));
  EXPECT_EQ(*store_->history().FindIncident("b", 2), closed);
  EXPECT_TRUE(
      absl::IsNotFound(store_->history().FindIncident("b", 3).status()));
}

TEST_F(RoundTripTest, CheckpointsOfLiveRunsAreLoaded) {
  Open();
  Checkpoint checkpoint;
  [[maybe_unused]] const auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9] =
      checkpoint;
  checkpoint.run = "live";
  checkpoint.attempt = AttemptId{2};
  checkpoint.step = Step{400};
  checkpoint.state = CheckpointState::kDistrusted;
  checkpoint.reason = "NaN again";
  checkpoint.shards_expected = 2;
  checkpoint.shards[1] = {"live",
                          AttemptId{2},
                          Step{400},
                          Rank{1},
                          "/ckpt/attempt-2/400/1.pt",
                          4711,
                          "beef",
                          2,
                          1'700'000'000'123,
                          0.75,
                          "cannot read"};
  checkpoint.saved = clock_.WallNow();
  checkpoint.save_seconds = 1.25;
  Checkpoint of_ended = checkpoint;
  of_ended.run = "done";
  RunState ended = MakeRun("done");
  ended.phase = RunPhase::kCompleted;
  Apply({MakeRun("live"), ended, checkpoint, of_ended});
  EXPECT_THAT(LoadAll().checkpoints, testing::ElementsAre(checkpoint));
  EXPECT_THAT(*store_->history().Checkpoints("done"),
              testing::ElementsAre(of_ended));
}

TEST_F(RoundTripTest, NodesAndCursors) {
  Open();
  const NodeRecord node{"node-1",
                        "10.0.0.7",
                        "boot:x",
                        true,
                        "ECC errors",
                        3,
                        {clock_.WallNow(), clock_.WallNow() + seconds(1)}};
  Apply({node, NodeCursor{"node-1", "boot:x", {41}},
         NodeCursor{"node-1", "boot:x", {42}},
         NodeCursor{"node-1", "boot:old", {7}}});
  // A cursor never moves back.
  Apply({NodeCursor{"node-1", "boot:x", {40}}});
  const Snapshot snapshot = LoadAll();
  EXPECT_THAT(snapshot.nodes, testing::ElementsAre(node));
  EXPECT_THAT(snapshot.cursors,
              testing::ElementsAre(NodeCursor{"node-1", "boot:old", {7}},
                                   NodeCursor{"node-1", "boot:x", {42}}));
}

TEST_F(RoundTripTest, DecisionsRequestsAndRankFailures) {
  Open();
  RankFailed failure;
  failure.exit = {"r",
                  AttemptId{2},
                  Rank{5},
                  {1, 9},
                  true,
                  Step{33},
                  Phase::kBackward,
                  1'700'000'000'555,
                  "RuntimeError: \xff",
                  {"line 1", "line 2"},
                  true,
                  "RuntimeError@train.py:3"};
  failure.node = "node-2";
  failure.at = clock_.WallNow();
  Apply({Decision{"r", AttemptId{2}, 4, clock_.WallNow(), "restart", "because"},
         RequestDone{"req-1", "done"}, RequestDone{"req-1", "done twice"},
         failure});
  // The same report applied again: a rank of an attempt ends once.
  Apply({failure});
  const Snapshot snapshot = LoadAll();
  EXPECT_THAT(snapshot.requests,
              testing::ElementsAre(testing::Pair("req-1", "done")));
  const auto decisions = store_->history().Decisions("r", 10);
  ASSERT_EQ(decisions->size(), 1u);
  EXPECT_EQ(decisions->at(0).action, "restart");
  EXPECT_EQ(decisions->at(0).incident, 4);
  const auto failures = store_->history().RankFailures("r", 10);
  ASSERT_TRUE(failures.ok()) << failures.status();
  ASSERT_EQ(failures->size(), 1u);
  const RankExited& exit = failures->at(0).exit;
  EXPECT_EQ(exit.exit, failure.exit.exit);
  EXPECT_EQ(exit.phase, Phase::kBackward);
  EXPECT_EQ(exit.error, failure.exit.error);
  EXPECT_EQ(exit.last_log_lines, failure.exit.last_log_lines);
  EXPECT_EQ(exit.signature, failure.exit.signature);
  EXPECT_TRUE(exit.is_secondary);
  EXPECT_EQ(failures->at(0).node, "node-2");
  EXPECT_EQ(failures->at(0).at, failure.at);
}

TEST_F(RoundTripTest, RequestsAreRememberedForSevenDays) {
  Open();
  Apply({RequestDone{"old", "x"}});
  clock_.Advance(std::chrono::hours(24 * 7 + 1));
  Apply({RequestDone{"new", "y"}});
  EXPECT_THAT(LoadAll().requests,
              testing::ElementsAre(testing::Pair("new", "y")));
}

TEST_F(RoundTripTest, TheEpochGrowsWithEachLoadAndServersDiffer) {
  Open();
  const Snapshot first = LoadAll();
  EXPECT_EQ(first.server_epoch, 1u);
  Open();
  const Snapshot second = LoadAll();
  EXPECT_EQ(second.server_epoch, 2u);
  EXPECT_NE(first.server_id, second.server_id);
}

TEST_F(RoundTripTest, OfManyChangesOfOneKeyTheLastCounts) {
  Open();
  RunState early = MakeRun("r");
  early.max_step = Step{1};
  RunState late = early;
  late.max_step = Step{2};
  Apply({early, MakeStep("r", 1, 1, 2), late, MakeStep("r", 1, 2, 2)});
  EXPECT_EQ(LoadAll().runs.at(0).max_step, Step{2});
  EXPECT_EQ(store_->history().Steps({.run = "r"})->size(), 2u);
}

}  // namespace
}  // namespace steadyrun
