#include "tests/integration/agent/agent_rig.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "agent/collectors/process_stat.h"
#include "base/file.h"
#include "spdlog/fmt/fmt.h"

extern char** environ;

namespace steadyrun::agent {

void AgentTest::SetUp() {}

// Ends every process that carries this test's state directory.
void AgentTest::TearDown() {
  if (agent_ > 0) EndAgent(SIGKILL);
  const ProcessTable processes;
  const std::string mine = scratch_ / "state";
  for (const std::int32_t pid : processes.Pids()) {
    const std::string environment = processes.Environment(pid);
    const auto of = FindVariable(environment, "STEADYRUN_STATE_DIR");
    if (of && *of == mine) ::kill(pid, SIGKILL);
  }
  const Heard heard = server_.heard();
  EXPECT_THAT(heard.errors, ::testing::IsEmpty());
  if (HasFailure()) {
    ::fprintf(stderr, "--- agent.log\n%s---\n",
              ReadText(scratch_ / "agent.log").c_str());
  }
}

void AgentTest::SpawnAgent(const std::vector<std::string>& more) {
  std::vector<std::string> args = {STEADYRUN_AGENT,
                                   "--node",
                                   "node-1",
                                   "--server",
                                   server_.address(),
                                   "--state-dir",
                                   scratch_ / "state",
                                   "--recorder-dir",
                                   scratch_ / "recorders",
                                   "--log-level",
                                   "debug"};
  args.insert(args.end(), more.begin(), more.end());
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 2,
                                     (scratch_ / "agent.log").c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
  ASSERT_EQ(::posix_spawn(&agent_, STEADYRUN_AGENT, &actions, nullptr,
                          argv.data(), ::environ),
            0);
  ::posix_spawn_file_actions_destroy(&actions);
}

void AgentTest::StartAgent(const std::vector<std::string>& more) {
  const std::size_t before = server_.heard().hellos.size();
  SpawnAgent(more);
  ASSERT_TRUE(server_.WaitUntil(
      [before](const Heard& heard) { return heard.hellos.size() > before; }));
}

void AgentTest::KillAgent() { EndAgent(SIGKILL); }

int AgentTest::EndAgent(int signal) {
  ::kill(agent_, signal);
  int status = 0;
  ::waitpid(agent_, &status, 0);
  agent_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

StartCommand AgentTest::Shells(const std::string& script, int ranks) const {
  StartCommand start;
  start.argv = {"/bin/sh", "-c", script};
  start.working_directory = scratch_.path();
  start.world_size = ranks;
  start.nodes = 1;
  start.master_address = "127.0.0.1";
  start.master_port = 29500;
  start.checkpoint_directory = scratch_ / "checkpoints/attempt-1";
  for (int rank = 0; rank < ranks; ++rank) {
    start.ranks.push_back({Rank{rank}, rank, ""});
  }
  return start;
}

StartCommand AgentTest::Writers(int ranks, int steps, int step_ms) const {
  StartCommand start = Shells("", ranks);
  start.argv = {STEADYRUN_WRITER, std::to_string(steps),
                std::to_string(step_ms)};
  return start;
}

bool AgentTest::SendUntil(const Command& command,
                          const std::function<bool(const Heard&)>& condition) {
  server_.Send(command);
  return server_.WaitUntil(condition);
}

void AgentTest::Launch(StartCommand start, int attempt) {
  ASSERT_TRUE(SendUntil(server_.Stop(attempt), [attempt](const Heard& heard) {
    return heard.state.runs.size() == 1 &&
           heard.state.runs[0].floor == AttemptId{attempt};
  }));
  const auto ranks = static_cast<int>(start.ranks.size());
  ASSERT_TRUE(SendUntil(
      server_.Start(attempt, std::move(start)), [&](const Heard& heard) {
        for (int rank = 0; rank < ranks; ++rank) {
          const RankState* state = heard.FindRank(rank);
          if (state == nullptr || state->attempt != AttemptId{attempt} ||
              state->pid == 0) {
            return false;
          }
        }
        return true;
      }));
}

void AgentTest::StartRanks(const std::string& script, int ranks, int attempt) {
  Launch(Shells(script, ranks), attempt);
}

// Woken by each write to the log, not by time.
bool AgentTest::WaitForLog(const std::string& text) const {
  const int fd = ::inotify_init1(IN_CLOEXEC);
  ::inotify_add_watch(fd, (scratch_ / "agent.log").c_str(), IN_MODIFY);
  bool is_found = false;
  bool is_awake = true;
  while (is_awake && !is_found) {
    is_found = ReadText(scratch_ / "agent.log").find(text) != std::string::npos;
    if (is_found) break;
    pollfd entry{fd, POLLIN, 0};
    is_awake = ::poll(&entry, 1, 20'000) == 1;
    char events[4096];
    if (is_awake && ::read(fd, events, sizeof events) <= 0) is_awake = false;
  }
  ::close(fd);
  return is_found;
}

std::string AgentTest::ReadText(const std::string& path) const {
  return ReadFile(path).value_or("");
}

bool AgentTest::WaitForEnd(pid_t pid) {
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return !IsAlive(pid);
  pollfd entry{fd, POLLIN, 0};
  const bool is_ended = ::poll(&entry, 1, 30'000) == 1;
  ::close(fd);
  return is_ended;
}

bool AgentTest::IsAlive(pid_t pid) {
  const auto stat = ProcessTable().Stat(pid);
  return stat.ok() && !stat->IsDead();
}

}  // namespace steadyrun::agent
