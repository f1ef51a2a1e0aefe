#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/config_reader.h"

namespace steadyrun {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t nanoseconds;
};
// Longest first, as a text names them and as FormatDuration tries them.
constexpr std::array<Unit, 8> kUnits = {{{"d", 86'400'000'000'000},
                                         {"h", 3'600'000'000'000},
                                         {"min", 60'000'000'000},
                                         {"m", 60'000'000'000},
                                         {"s", 1'000'000'000},
                                         {"ms", 1'000'000},
                                         {"us", 1'000},
                                         {"ns", 1}}};

// More is a mistake, and would overflow 64 bits of nanoseconds.
constexpr double kMaxNanoseconds = 9.2e18;

std::size_t DigitsAt(std::string_view text) {
  const auto end = text.find_first_not_of("0123456789.");
  return end == std::string_view::npos ? text.size() : end;
}

}  // namespace

bool ParseDuration(std::string_view text, Duration* value) {
  if (text.empty() || text.size() > 64) return false;
  double total = 0;
  std::int64_t last_unit = INT64_MAX;
  bool is_bare = false;
  while (!text.empty()) {
    const std::size_t digits = DigitsAt(text);
    double number = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + digits, number);
    if (digits == 0 || error != std::errc() || end != text.data() + digits) {
      return false;
    }
    text.remove_prefix(digits);
    const auto letters =
        std::min(text.find_first_of("0123456789."), text.size());
    const std::string_view name = text.substr(0, letters);
    text.remove_prefix(letters);
    // A number without a unit is seconds, but only alone: "1m30" is a slip.
    is_bare = name.empty();
    const auto unit = std::ranges::find(
        kUnits, is_bare ? std::string_view("s") : name, &Unit::name);
    if (unit == kUnits.end() || unit->nanoseconds >= last_unit) return false;
    if (is_bare && last_unit != INT64_MAX) return false;
    last_unit = unit->nanoseconds;
    total += number * static_cast<double>(unit->nanoseconds);
  }
  if (!(total <= kMaxNanoseconds)) return false;
  *value = Duration(std::llround(total));
  return true;
}

std::string FormatDuration(Duration value) {
  const std::int64_t nanoseconds = value.count();
  if (nanoseconds == 0) return "0s";
  for (const Unit& unit : kUnits) {
    if (unit.name == "d" || unit.name == "min") continue;
    if (nanoseconds % unit.nanoseconds == 0) {
      return fmt::format("{}{}", nanoseconds / unit.nanoseconds, unit.name);
    }
  }
  return fmt::format("{}ns", nanoseconds);
}

}  // namespace steadyrun
