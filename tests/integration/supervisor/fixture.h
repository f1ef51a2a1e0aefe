#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/supervisor/supervisor.h"
#include "base/clock.h"

namespace steadyrun::agent {

inline constexpr char kRun[] = "run-1";

// A supervisor over a state directory of its own, with real processes.
class SupervisorTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // A supervisor on the same directory, as after a restart of the agent.
  std::unique_ptr<Supervisor> NewSupervisor() const;
  SupervisorOptions Options() const;

  static SpawnRank ShellRank(const std::string& script, int attempt = 1,
                             int rank = 0);
  void Spawn(const std::string& script, int attempt = 1, int rank = 0);

  // Polls, collecting events, until `done`; false after 20 seconds. Waits on
  // the supervisor's descriptor, at most 10 ms at a time.
  bool PumpUntil(const std::function<bool()>& done);
  bool PumpUntilSpawned(int count = 1);
  bool PumpUntilGone(int count = 1);

  template <typename T>
  std::vector<T> Seen() const {
    std::vector<T> found;
    for (const Event& event : events_) {
      if (const T* match = std::get_if<T>(&event)) found.push_back(*match);
    }
    return found;
  }
  // Of the only RankGone.
  RankExited Exit() const;

  std::string InDirectory(const std::string& name) const {
    return directory_ + "/" + name;
  }
  // The number in a file that a rank writes; 0 until it is there.
  int NumberIn(const std::string& name) const;
  bool PumpUntilFile(const std::string& name);
  int ShimPid(int attempt = 1, int rank = 0) const;
  static bool IsAlive(int pid);
  Now Time() const { return SystemClock().Both(); }

  std::string directory_;
  std::string state_uuid_;
  std::unique_ptr<Supervisor> supervisor_;
  std::vector<Event> events_;
};

}  // namespace steadyrun::agent
