#pragma once

// Which format a log is in.

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "proto/messages/log_format.h"

namespace steadyrun::agent {

// Tries every format on each line. Pure, a few words of memory.
class FormatGuess {
 public:
  // True if the line prints a step of some format.
  bool Take(std::string_view line);

  // Lines that printed a step, by place in kLogFormats.
  const std::array<std::int64_t, kLogFormats.size()>& matched() const {
    return matched_;
  }
  std::int64_t lines() const { return lines_; }

  // As soon as it is safe to say, for a log that is still being written: after
  // one line of a format that nothing else looks like, after two with a loss
  // of one that anybody might print ("{'loss': 0.5}" may be a setting), and
  // after three of DeepSpeed's, which trainers with a loss print beside their
  // own. Stays what it was, but for DeepSpeed, which another takes over from.
  std::optional<LogFormat> Decided() const { return decided_; }

 private:
  std::array<std::int64_t, kLogFormats.size()> matched_{};
  std::array<std::int64_t, kLogFormats.size()> telling_{};
  std::int64_t lines_ = 0;
  std::optional<LogFormat> decided_;
};

}  // namespace steadyrun::agent
