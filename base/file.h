#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace steadyrun {

// Whole-file helpers. Messages name the path and the system's reason.

// NOT_FOUND if absent; at most `max_bytes` are read (RESOURCE_EXHAUSTED past).
absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     std::size_t max_bytes = 64 << 20);

// The last `max_bytes` of a file; the whole of it if it is shorter.
absl::StatusOr<std::string> ReadFileTail(const std::string& path,
                                         std::size_t max_bytes);

// Writes beside the target, syncs, renames: readers see the old or the new.
// RESOURCE_EXHAUSTED when the disk is full.
absl::Status WriteFileAtomically(const std::string& path,
                                 std::string_view content, int mode = 0644);

// mkdir -p. OK if it exists.
absl::Status MakeDirectories(const std::string& path, int mode = 0755);

}  // namespace steadyrun
