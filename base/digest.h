#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace steadyrun {

// Lower-case hex SHA-256 (OpenSSL).
std::string Sha256Hex(std::string_view bytes);

struct FileDigest {
  std::string sha256;
  std::int64_t size_bytes = 0;
};
// Reads the whole file. NOT_FOUND if it is absent, UNAVAILABLE on I/O errors.
absl::StatusOr<FileDigest> Sha256File(const std::string& path);

// 16 random hex characters from the operating system.
std::string RandomHex64();
std::uint64_t RandomU64();

}  // namespace steadyrun
