#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace steadyrun::sim {

// What happened, for a person, and a digest of it, for the test that equal
// seeds give equal histories. Lines are made only when somebody reads them.
class Trace {
 public:
  void KeepLines() { keeps_ = true; }
  bool keeps_lines() const { return keeps_; }

  template <typename... Args>
  void Line(Duration at, std::string_view who, fmt::format_string<Args...> form,
            Args&&... args) {
    if (!keeps_) return;
    lines_.push_back(fmt::format(
        "{:>10.3f}s  {:<10} {}", ToSeconds(at), who,
        fmt::vformat(fmt::string_view(form), fmt::make_format_args(args...))));
  }
  // Mixes a number into the digest of the history.
  void Mix(std::uint64_t value) {
    digest_ = (digest_ ^ value) * 0x100000001b3ull;
    digest_ ^= digest_ >> 29;
  }

  const std::vector<std::string>& lines() const { return lines_; }
  std::uint64_t digest() const { return digest_; }

 private:
  bool keeps_ = false;
  std::uint64_t digest_ = 0xcbf29ce484222325ull;
  std::vector<std::string> lines_;
};

}  // namespace steadyrun::sim
