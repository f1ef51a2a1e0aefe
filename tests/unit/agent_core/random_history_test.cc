// Goal: the promises hold in any order of events. Method: random histories of
// commands, server changes, disk failures, exits and restarts of the agent, in
// which a model of the disk and of the processes checks each effect.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <utility>

#include "spdlog/fmt/fmt.h"
#include "tests/unit/agent_core/core_rig.h"

namespace steadyrun::agent {
namespace {

class World {
 public:
  explicit World(std::uint64_t seed, CoreMutation mutation = {})
      : random_(seed) {
    options_.mutation = mutation;
    rig_ = std::make_unique<CoreRig>(options_);
  }

  void Act() {
    switch (Pick(16)) {
      case 0:
        rig_->Step(Pick(2) == 0 ? Event{StreamOpened{}}
                                : Event{StreamClosed{"random"}});
        break;
      case 1:
        Welcomed();
        break;
      case 2:
        rig_->Step(StreamOpened{});
        Welcomed();
        break;
      case 3:
      case 4:
        rig_->Send(Addressed(rig_->Stop(NearFloor())));
        break;
      case 5:
      case 6:
      case 7:
        rig_->Send(Addressed(rig_->Start(NearFloor())));
        break;
      case 8:
        if (!rig_->writes.empty()) rig_->FailPersist();
        break;
      case 9:
      case 10:
        EndOne();
        break;
      case 11:
        rig_->Tick(std::chrono::milliseconds(100 + Pick(2000)));
        break;
      case 12:
        if (Pick(10) == 0) Restart();
        break;
      default:
        if (!rig_->writes.empty()) rig_->Persist();
        break;
    }
    Check();
  }

  std::size_t spawned() const { return ever_.size(); }
  const std::set<std::string>& violations() const { return violations_; }

 private:
  void Demand(bool holds, std::string_view violation) {
    if (!holds) violations_.insert(std::string(violation));
  }

  int Pick(int n) { return static_cast<int>(random_() % unsigned(n)); }

  void Welcomed() {
    Welcome welcome;
    session_epoch_ = epoch_ + static_cast<std::uint64_t>(Pick(4) == 0);
    if (Pick(8) == 0) session_epoch_ = static_cast<std::uint64_t>(Pick(9));
    welcome.server_epoch = session_epoch_;
    welcome.server_id = Pick(8) == 0 ? "b" : "a";
    rig_->Step(WelcomeReceived{welcome});
  }

  AttemptId NearFloor() { return {floor_.value + Pick(3) - Pick(2)}; }

  Command Addressed(Command command) {
    command.server_epoch = session_epoch_;
    if (Pick(8) == 0) command.server_epoch = static_cast<unsigned>(Pick(9));
    // A new command each time: the memory of answers must not be the guard.
    command.command_id += fmt::format("-{}", Pick(3));
    if (Pick(8) == 0) command.boot_id = "other";
    return command;
  }

  void EndOne() {
    if (alive_.empty()) return;
    const auto [attempt, rank] = *alive_.begin();
    alive_.erase(alive_.begin());
    rig_->Gone(attempt, rank.value, {.signal = 9});
  }

  // kill -9 of the agent: what was not answered by the disk may be on it.
  void Restart() {
    DurableState disk = rig_->disk;
    if (!rig_->writes.empty() && Pick(2) == 0)
      disk = rig_->writes.front().state;
    NodeRunState run{.run = "run", .floor = {}, .started = {}, .ranks = {}};
    for (const auto& [attempt, rank] : alive_) {
      RankState state;
      state.attempt = attempt;
      state.rank = rank;
      state.life = RankLife::kAlive;
      run.started = std::max(run.started, attempt);
      run.ranks.push_back(state);
    }
    std::vector<NodeRunState> survivors;
    if (!run.ranks.empty()) survivors.push_back(run);
    rig_ = std::make_unique<CoreRig>(options_, disk, survivors);
  }

  void Check() {
    DurableRun on_disk;
    for (const DurableRun& run : rig_->disk.runs) {
      if (run.run == "run") on_disk = run;
    }
    Demand(on_disk.floor >= floor_, "the floor went down");
    Demand(on_disk.started >= started_, "a start was taken back");
    Demand(rig_->disk.max_server_epoch >= epoch_, "the epoch went down");
    floor_ = on_disk.floor;
    started_ = on_disk.started;
    epoch_ = rig_->disk.max_server_epoch;
    for (const Effect& effect : rig_->effects) {
      if (const auto* spawn = std::get_if<SpawnRank>(&effect)) {
        const Rank rank = spawn->start.ranks.at(0).rank;
        Demand(spawn->attempt == started_, "spawned before recorded");
        Demand(spawn->attempt == floor_, "spawned outside its fence");
        Demand(ever_.insert({spawn->attempt, rank}).second, "spawned twice");
        for (const auto& [attempt, other] : alive_) {
          Demand(attempt == spawn->attempt, "two attempts at once");
        }
        alive_.insert({spawn->attempt, rank});
      } else if (const auto* kill = std::get_if<KillRanks>(&effect)) {
        Demand(kill->below <= floor_, "killed before fenced");
      }
    }
    rig_->Clear();
  }

  std::mt19937_64 random_;
  std::set<std::string> violations_;
  CoreOptions options_ = CoreRig::DefaultOptions();
  std::unique_ptr<CoreRig> rig_;
  std::set<std::pair<AttemptId, Rank>> alive_;
  std::set<std::pair<AttemptId, Rank>> ever_;
  AttemptId floor_, started_;
  std::uint64_t epoch_ = 0;
  std::uint64_t session_epoch_ = 0;
};

TEST(RandomHistoryTest, PromisesHoldInAnyOrder) {
  std::size_t spawned = 0;
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    World world(seed);
    for (int event = 0; event < 300; ++event) {
      world.Act();
      ASSERT_THAT(world.violations(), ::testing::IsEmpty())
          << fmt::format("seed {} event {}", seed, event);
    }
    spawned += world.spawned();
  }
  // The histories reach what they are about.
  EXPECT_GT(spawned, 1000u);
}

// The checks can fail: each of these defects is found by them.
TEST(RandomHistoryTest, DefectsAreFound) {
  const std::vector<std::pair<CoreMutation, std::string>> cases = {
      {CoreMutation::kKillBeforeFencePersisted, "killed before fenced"},
      {CoreMutation::kSpawnBeforeStartedPersisted, "spawned before recorded"},
      {CoreMutation::kStartsBesideOlderAttempt, "two attempts at once"},
  };
  for (const auto& [mutation, violation] : cases) {
    std::set<std::string> found;
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
      World world(seed, mutation);
      for (int event = 0; event < 300; ++event) world.Act();
      found.insert(world.violations().begin(), world.violations().end());
    }
    EXPECT_THAT(found, ::testing::Contains(violation));
  }
}

}  // namespace
}  // namespace steadyrun::agent
