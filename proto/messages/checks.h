#pragma once

// Checks of single fields, for convert*.cc only. Each costs a compare when the
// field is right; text is made only for a wrong one:
//   "step: found -7, expected -1..1125899906842624"

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace steadyrun::checks {

// Numbers beyond these are no measurement but a mistake; below them sums and
// unit changes of pure code cannot overflow.
inline constexpr std::int64_t kMaxStep = std::int64_t{1} << 50;
inline constexpr std::int64_t kMaxAttempt = std::int64_t{1} << 40;
inline constexpr std::int64_t kMaxRank = (1 << 20) - 1;
inline constexpr std::int64_t kMaxAgeMs = std::int64_t{366} * 86'400'000 * 10;
inline constexpr std::int64_t kMaxUnixMs = 253'402'300'799'999;  // Year 9999.
inline constexpr std::int64_t kMaxBytes = std::int64_t{1} << 60;
inline constexpr std::size_t kMaxPathBytes = 4096;
inline constexpr std::size_t kMaxIdBytes = 256;

absl::Status Bad(std::string_view field, std::string_view found,
                 std::string_view expected);
// Puts "name[index]." or "name." before the field an error names.
absl::Status In(std::string_view name, const absl::Status& status);
absl::Status In(std::string_view name, int index, const absl::Status& status);

// Both ends belong to the range.
absl::Status InRange(std::string_view field, std::int64_t value,
                     std::int64_t low, std::int64_t high);
absl::Status AtLeastOne(std::string_view field, std::uint64_t value);
absl::Status CountAtMost(std::string_view field, int count, std::size_t most);
// Finite, not negative: a measured time.
absl::Status Seconds(std::string_view field, double value);
// A run's or node's name.
absl::Status Name(std::string_view field, std::string_view value);
// [A-Za-z0-9._:/@%\[\]-]{1,256}: command ids, boot ids, addresses.
absl::Status Identifier(std::string_view field, std::string_view value);
// Free text for people; only its length is limited.
absl::Status Text(std::string_view field, std::string_view value,
                  std::size_t most);
// Not empty, <= 4096 bytes, no control character.
absl::Status Path(std::string_view field, std::string_view value);
// 64 lower-case hexadecimal digits.
absl::Status Sha256(std::string_view field, std::string_view value);
// As a word that must do without NUL: argv, environment, directories.
absl::Status NoNul(std::string_view field, std::string_view value,
                   std::size_t most);

}  // namespace steadyrun::checks
