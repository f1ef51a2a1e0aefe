#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/effect.h"

namespace steadyrun::agent {

// The agent's fence on disk. Two slots of a file that is allocated once, so
// that a full disk never blocks fencing: each write goes to the slot that does
// not hold the newest state, and is synced before Write returns. A write torn
// by a crash leaves the other slot, which holds the state before.
//
// A damaged file is treated as no file: the node starts with a new identity,
// hence a new boot id, and the server knows that nothing is remembered.
// Not thread-safe; one process at a time, which a lock on the file ensures.
class StateFile {
 public:
  static constexpr std::size_t kSlotBytes = 64 * 1024;

  // Creates or opens `path`. FAILED_PRECONDITION: another agent holds it.
  // RESOURCE_EXHAUSTED: no space for a new file.
  static absl::StatusOr<StateFile> Open(const std::string& path);

  StateFile(StateFile&& other) noexcept;
  StateFile& operator=(StateFile&& other) noexcept;
  StateFile(const StateFile&) = delete;
  StateFile& operator=(const StateFile&) = delete;
  ~StateFile();

  // The newest state found on disk at Open; absent when new or damaged.
  const std::optional<DurableState>& loaded() const { return loaded_; }
  // Both slots held bytes and neither was whole.
  bool was_damaged() const { return was_damaged_; }

  // Durable on return. RESOURCE_EXHAUSTED if it does not fit a slot.
  absl::Status Write(const DurableState& state);

 private:
  StateFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  void Load();

  int fd_ = -1;
  std::string path_;
  std::uint64_t counter_ = 0;  // Of the newest state; its slot is counter % 2.
  std::optional<DurableState> loaded_;
  bool was_damaged_ = false;
};

// One slot's bytes; pure. A decoded slot has passed its checksum.
struct StateSlot {
  std::uint64_t counter = 0;
  DurableState state;
};
std::string EncodeStateSlot(const StateSlot& slot);
std::optional<StateSlot> DecodeStateSlot(std::string_view bytes);

}  // namespace steadyrun::agent
