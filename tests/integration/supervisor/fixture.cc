#include "tests/integration/supervisor/fixture.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "agent/collectors/process_stat.h"
#include "agent/supervisor/rank_environment.h"
#include "agent/supervisor/rank_record.h"
#include "base/digest.h"
#include "base/file.h"

namespace steadyrun::agent {

void SupervisorTest::SetUp() {
  std::string name = ::testing::TempDir() + "supervisor.XXXXXX";
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  directory_ = name;
  state_uuid_ = RandomHex64();
  supervisor_ = NewSupervisor();
  ASSERT_NE(supervisor_, nullptr);
}

void SupervisorTest::TearDown() {
  if (supervisor_ != nullptr) {
    supervisor_->Kill(kRun, AttemptId{1 << 20}, Duration::zero(), Time());
    EXPECT_TRUE(PumpUntil([&] {
      for (const RankProcess& rank : supervisor_->Ranks()) {
        if (rank.life != RankLife::kExited) return false;
      }
      return true;
    })) << "processes of the test are left";
  }
  std::error_code error;
  std::filesystem::remove_all(directory_, error);
}

SupervisorOptions SupervisorTest::Options() const {
  SupervisorOptions options;
  options.state_directory = directory_;
  options.state_uuid = state_uuid_;
  options.node = "node-1";
  options.kernel_boot_id = *ProcessTable().BootId();
  options.shim_path = STEADYRUN_SHIM;
  return options;
}

std::unique_ptr<Supervisor> SupervisorTest::NewSupervisor() const {
  auto supervisor = Supervisor::Create(Options());
  EXPECT_TRUE(supervisor.ok()) << supervisor.status();
  return supervisor.ok() ? *std::move(supervisor) : nullptr;
}

SpawnRank SupervisorTest::ShellRank(const std::string& script, int attempt,
                                    int rank) {
  SpawnRank spawn;
  spawn.run = kRun;
  spawn.attempt = AttemptId{attempt};
  spawn.start.argv = {"/bin/sh", "-c", script};
  spawn.start.ranks = {RankStart{Rank{rank}, rank, ""}};
  spawn.start.world_size = 2;
  spawn.start.nodes = 1;
  return spawn;
}

void SupervisorTest::Spawn(const std::string& script, int attempt, int rank) {
  SpawnRank spawn = ShellRank(script, attempt, rank);
  spawn.start.working_directory = directory_;
  supervisor_->Spawn(spawn, "", OwnEnvironment(), 1);
}

bool SupervisorTest::PumpUntil(const std::function<bool()>& done) {
  const MonoTime deadline = Time().mono + std::chrono::seconds(20);
  while (!done()) {
    if (Time().mono > deadline) return false;
    pollfd entry{supervisor_->PollFd(), POLLIN, 0};
    ::poll(&entry, 1, 10);
    for (Event& event : supervisor_->Poll(Time())) {
      events_.push_back(std::move(event));
    }
  }
  return true;
}

bool SupervisorTest::PumpUntilSpawned(int count) {
  return PumpUntil([&] {
    return Seen<RankSpawned>().size() >= static_cast<std::size_t>(count);
  });
}

bool SupervisorTest::PumpUntilGone(int count) {
  return PumpUntil([&] {
    return Seen<RankGone>().size() >= static_cast<std::size_t>(count);
  });
}

RankExited SupervisorTest::Exit() const {
  const auto gone = Seen<RankGone>();
  EXPECT_EQ(gone.size(), 1u);
  return gone.empty() ? RankExited{} : gone.back().exit;
}

int SupervisorTest::NumberIn(const std::string& name) const {
  const auto text = ReadFile(InDirectory(name));
  return text.ok() ? std::atoi(text->c_str()) : 0;
}

bool SupervisorTest::PumpUntilFile(const std::string& name) {
  return PumpUntil([&] { return NumberIn(name) != 0; });
}

int SupervisorTest::ShimPid(int attempt, int rank) const {
  const auto identity = ReadIdentity(
      supervisor_->FilesOf({kRun, AttemptId{attempt}, Rank{rank}}).record);
  return identity ? identity->shim_pid : 0;
}

bool SupervisorTest::IsAlive(int pid) {
  const auto stat = ProcessTable().Stat(pid);
  return stat.ok() && !stat->IsDead();
}

}  // namespace steadyrun::agent
