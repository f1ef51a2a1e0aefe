#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/integration/agent/scratch.h"
#include "tests/integration/agent/test_server.h"

namespace steadyrun::agent {

// A real steadyrun-agent process against a server of the test. Whatever it
// started is ended with the test.
class AgentTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // `more`: flags. Waits for the first heartbeat.
  void StartAgent(const std::vector<std::string>& more = {});
  void SpawnAgent(const std::vector<std::string>& more = {});
  void KillAgent();          // SIGKILL, reaped.
  int EndAgent(int signal);  // Its exit code, or -signal.
  pid_t agent() const { return agent_; }

  // Fences attempt 1 in and starts `ranks` shells that run `script`; waits
  // until all show up.
  void StartRanks(const std::string& script, int ranks = 1, int attempt = 1);
  StartCommand Shells(const std::string& script, int ranks) const;
  // As StartRanks, with a process that writes its flight recorder.
  StartCommand Writers(int ranks, int steps, int step_ms) const;
  void Launch(StartCommand start, int attempt = 1);
  // Commands are sent again until they have their effect, as a server does.
  bool SendUntil(const Command& command,
                 const std::function<bool(const Heard&)>& condition);

  // Until the agent's log holds `text`; false after 20 s.
  bool WaitForLog(const std::string& text) const;
  std::string ReadText(const std::string& path) const;
  static bool IsAlive(pid_t pid);
  static bool WaitForEnd(pid_t pid);  // False after 30 s.

  Scratch scratch_;
  TestServer server_;

 private:
  pid_t agent_ = -1;
};

}  // namespace steadyrun::agent
