#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace steadyrun::agent {

// One process as /proc shows it. The root is an argument so that tests, and
// agents in a container with the host's /proc mounted elsewhere, can name it.

struct ProcessStat {
  std::int32_t pid = 0;
  char state = 0;  // R S D T t Z X I
  std::int32_t parent = 0;
  std::int32_t group = 0;
  std::int32_t session = 0;
  std::int32_t threads = 0;
  double cpu_seconds = 0;         // User and system, all threads.
  std::uint64_t start_ticks = 0;  // Since boot; with the pid an identity.

  // Nothing of it runs any more: a zombie whose threads have all ended.
  bool IsDead() const {
    return state == 'X' || state == 'x' || (state == 'Z' && threads <= 1);
  }
};

// Parses the text of /proc/<pid>/stat. The command in it may hold any bytes.
std::optional<ProcessStat> ParseProcessStat(std::string_view text,
                                            double ticks_per_second);

class ProcessTable {
 public:
  explicit ProcessTable(std::string root = "/proc");

  // NOT_FOUND when there is no such process.
  absl::StatusOr<ProcessStat> Stat(std::int32_t pid) const;
  // What the kernel waits for on its behalf ("futex_wait"); empty if unknown.
  std::string WaitChannel(std::int32_t pid) const;
  // The initial environment, as zero-terminated entries; empty when it may
  // not be read. At most 1 MiB.
  std::string Environment(std::int32_t pid) const;
  std::vector<std::int32_t> Pids() const;  // Ascending.
  // The kernel's id of this boot; UNAVAILABLE if it cannot be read.
  absl::StatusOr<std::string> BootId() const;

 private:
  std::string root_;
  double ticks_per_second_;
};

// The value of `name` in a zero-separated environment.
std::optional<std::string_view> FindVariable(std::string_view environment,
                                             std::string_view name);

}  // namespace steadyrun::agent
