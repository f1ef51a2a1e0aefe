#include "proto/messages/checks.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "proto/messages/convert.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::checks {
namespace {

// What a peer sent is shown, but neither whole nor raw.
std::string Quote(std::string_view text) {
  constexpr std::size_t kMost = 64;
  const std::string shown(text.substr(0, kMost));
  return fmt::format(
      "'{}'{}", absl::CHexEscape(shown),
      text.size() > kMost ? fmt::format("... ({} bytes)", text.size()) : "");
}

bool IsIdentifierByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
         std::string_view("._:/@%[]-").find(c) != std::string_view::npos;
}

absl::Status TooLong(std::string_view field, std::size_t size,
                     std::size_t most) {
  return Bad(field, fmt::format("{} bytes", size),
             fmt::format("at most {}", most));
}

}  // namespace

absl::Status Bad(std::string_view field, std::string_view found,
                 std::string_view expected) {
  return absl::InvalidArgumentError(
      fmt::format("{}: found {}, expected {}", field, found, expected));
}

absl::Status In(std::string_view name, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(
      status.code(), fmt::format("{}.{}", name, std::string(status.message())));
}

absl::Status In(std::string_view name, int index, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(
      status.code(),
      fmt::format("{}[{}].{}", name, index, std::string(status.message())));
}

absl::Status InRange(std::string_view field, std::int64_t value,
                     std::int64_t low, std::int64_t high) {
  if (value >= low && value <= high) [[likely]]
    return absl::OkStatus();
  return Bad(field, fmt::format("{}", value), fmt::format("{}..{}", low, high));
}

absl::Status AtLeastOne(std::string_view field, std::uint64_t value) {
  if (value >= 1) [[likely]]
    return absl::OkStatus();
  return Bad(field, "0", "1 or more");
}

absl::Status CountAtMost(std::string_view field, int count, std::size_t most) {
  if (static_cast<std::size_t>(count) <= most) [[likely]]
    return absl::OkStatus();
  return Bad(field, fmt::format("{} entries", count),
             fmt::format("at most {}", most));
}

absl::Status Seconds(std::string_view field, double value) {
  if (std::isfinite(value) && value >= 0 && value <= 1e12) [[likely]]
    return absl::OkStatus();
  return Bad(field, fmt::format("{}", value), "seconds, finite and >= 0");
}

absl::Status Name(std::string_view field, std::string_view value) {
  if (IsValidName(value)) [[likely]]
    return absl::OkStatus();
  return Bad(field, Quote(value), "a name of [A-Za-z0-9._-]{1,64}");
}

absl::Status Identifier(std::string_view field, std::string_view value) {
  if (!value.empty() && value.size() <= kMaxIdBytes &&
      std::all_of(value.begin(), value.end(), IsIdentifierByte)) [[likely]]
    return absl::OkStatus();
  return Bad(field, Quote(value), "[A-Za-z0-9._:/@%[]-]{1,256}");
}

absl::Status Text(std::string_view field, std::string_view value,
                  std::size_t most) {
  if (value.size() <= most) [[likely]]
    return absl::OkStatus();
  return TooLong(field, value.size(), most);
}

absl::Status Path(std::string_view field, std::string_view value) {
  if (value.size() > kMaxPathBytes) {
    return TooLong(field, value.size(), kMaxPathBytes);
  }
  const bool has_control = std::any_of(value.begin(), value.end(), [](char c) {
    return absl::ascii_iscntrl(static_cast<unsigned char>(c));
  });
  if (!value.empty() && !has_control) [[likely]]
    return absl::OkStatus();
  return Bad(field, Quote(value), "a path without control characters");
}

absl::Status Sha256(std::string_view field, std::string_view value) {
  const auto is_digit = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  };
  if (value.size() == 64 && std::all_of(value.begin(), value.end(), is_digit))
      [[likely]] {
    return absl::OkStatus();
  }
  return Bad(field, Quote(value), "64 lower-case hexadecimal digits");
}

absl::Status NoNul(std::string_view field, std::string_view value,
                   std::size_t most) {
  if (value.size() > most) return TooLong(field, value.size(), most);
  if (value.find('\0') == std::string_view::npos) [[likely]]
    return absl::OkStatus();
  return Bad(field, Quote(value), "no NUL byte");
}

}  // namespace steadyrun::checks
