#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/recorder/layout.h"
#include "base/ids.h"

namespace steadyrun::agent {

struct RecorderSpec {
  RunId run;
  AttemptId attempt;
  Incarnation incarnation;
  Rank rank = kNoRank;
  std::int32_t local_rank = 0;
  std::int32_t world_size = 0;
  std::uint32_t step_count = SRUN_STEP_COUNT;  // A power of two, 8..65536.
};

std::uint64_t RecorderBytes(std::uint32_t step_count);

// Creates the flight recorder of one rank, every byte of it allocated, so that
// a full disk cannot hit the trainer as SIGBUS. ALREADY_EXISTS if there is a
// file; RESOURCE_EXHAUSTED if there is no space (no file is left behind).
absl::Status CreateRecorder(const std::string& path, const RecorderSpec& spec);

// Tries the paths in turn (memory first, then disk); the one that was made, or
// the error of the last.
absl::StatusOr<std::string> CreateRecorderInFirst(
    const std::vector<std::string>& paths, const RecorderSpec& spec);

// The agent's side of one recorder. It reads with pread, not through a
// mapping: the trainer can truncate the file, and a mapping would turn that
// into SIGBUS in the agent. Everything read is hostile input.
class RecorderFile {
 public:
  // INVALID_ARGUMENT: not a recorder, or one of another rank or version.
  static absl::StatusOr<RecorderFile> Open(const std::string& path,
                                           const RecorderSpec& expected);
  RecorderFile(RecorderFile&& other) noexcept;
  RecorderFile& operator=(RecorderFile&& other) noexcept;
  RecorderFile(const RecorderFile&) = delete;
  RecorderFile& operator=(const RecorderFile&) = delete;
  ~RecorderFile();

  // False if the file was cut short under us.
  [[nodiscard]] bool ReadWriter(srun_writer* out) const;
  // Where the rank stands. A stack that is being replaced counts as none.
  [[nodiscard]] bool ReadStandstill(srun_standstill* out) const;
  // Slot of record number `number` (0, 1, ...): false unless it holds exactly
  // that record, whole.
  [[nodiscard]] bool ReadStep(std::uint64_t number, srun_step* out) const;
  [[nodiscard]] bool ReadEvent(std::uint64_t number, srun_event* out) const;
  // Entry of the name table, without its padding; empty if it is not a
  // well-formed metric name ([A-Za-z0-9_./-]{1,64}).
  std::string ReadName(std::uint32_t index) const;
  [[nodiscard]] bool ReadCommand(srun_command* out) const;
  // Publishes a command word; `command.seq` must be larger than any before.
  absl::Status WriteCommand(const srun_command& command) const;
  // Tells the trainer's side (`steadyrun doctor`) that the agent looks.
  void WriteLook(std::uint64_t agent_mono_ns) const;

  std::uint32_t step_count() const { return step_count_; }
  const std::string& path() const { return path_; }

 private:
  RecorderFile(int fd, std::string path, std::uint32_t step_count)
      : fd_(fd), path_(std::move(path)), step_count_(step_count) {}
  bool ReadAt(std::uint64_t offset, void* out, std::size_t bytes) const;

  int fd_ = -1;
  std::string path_;
  std::uint32_t step_count_ = 0;
};

}  // namespace steadyrun::agent
