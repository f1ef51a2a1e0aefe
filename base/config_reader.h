#pragma once

// A strict reader of TOML configuration, for the policy and for the programs'
// own files. A value that is absent leaves the caller's default in place; a
// value of the wrong type or out of range, and a key nobody asked for, is an
// error with file, line and column. All errors are collected, so that a person
// mends a file in one go:
//
//   ConfigReader reader(text, "agent.toml");
//   reader.ReadText("server.address", &address);
//   reader.ReadDuration("server.timeout", &timeout, {.min = 1ms, .max = 1h});
//   RETURN_IF_ERROR(reader.Finish());
//
// Keys are dotted paths of bare names. One thread; no I/O; throws nothing.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"

namespace steadyrun {

// Inclusive.
template <typename T>
struct ConfigRange {
  T min;
  T max;
};

// Reported before the rest is only counted: a binary file is not a book.
inline constexpr std::size_t kMaxConfigErrors = 20;
inline constexpr std::size_t kMaxConfigBytes = 256 << 10;

class ConfigReader {
 public:
  // `file` is for messages. A syntax error is reported by Finish().
  ConfigReader(std::string_view text, std::string file);
  ~ConfigReader();
  ConfigReader(const ConfigReader&) = delete;
  ConfigReader& operator=(const ConfigReader&) = delete;

  // Each Read* makes `key` a known one, stores a good value and returns true
  // when the key is set and good.
  bool ReadText(std::string_view key, std::string* value);
  bool ReadBool(std::string_view key, bool* value);
  bool ReadInt(std::string_view key, std::int64_t* value,
               ConfigRange<std::int64_t> range);
  bool ReadInt32(std::string_view key, std::int32_t* value,
                 ConfigRange<std::int32_t> range);
  bool ReadDouble(std::string_view key, double* value,
                  ConfigRange<double> range);
  // "500ms", "10s", "2m", "1h", "1h30m", or a bare number of seconds.
  bool ReadDuration(std::string_view key, Duration* value,
                    ConfigRange<Duration> range);
  bool ReadDurationList(std::string_view key, std::vector<Duration>* value,
                        ConfigRange<Duration> range, std::size_t max_size);
  bool ReadTextList(std::string_view key, std::vector<std::string>* value,
                    std::size_t max_size);
  // A table of names to strings; every name in it is known.
  bool ReadTextMap(std::string_view key,
                   std::map<std::string, std::string>* value,
                   std::size_t max_size);
  // One of a fixed set of words.
  template <typename Enum>
  bool ReadChoice(std::string_view key, Enum* value,
                  const std::vector<std::pair<std::string_view, Enum>>& words) {
    std::vector<std::string_view> names;
    for (const auto& [name, choice] : words) names.push_back(name);
    const int chosen = ReadWord(key, names);
    if (chosen < 0) return false;
    *value = words[static_cast<std::size_t>(chosen)].second;
    return true;
  }
  // A list of such words, `min_size` to `max_size` of them.
  template <typename Enum>
  bool ReadChoiceList(
      std::string_view key, std::vector<Enum>* value,
      const std::vector<std::pair<std::string_view, Enum>>& words,
      std::size_t min_size, std::size_t max_size) {
    std::vector<std::string_view> names;
    for (const auto& [name, choice] : words) names.push_back(name);
    std::vector<int> chosen;
    if (!ReadWords(key, names, min_size, max_size, &chosen)) return false;
    value->clear();
    for (const int i : chosen) {
      value->push_back(words[static_cast<std::size_t>(i)].second);
    }
    return true;
  }

  // The file sets this key, whatever its value.
  bool IsSet(std::string_view key) const;
  // "policy.toml:5:1" of the key's value; the file alone when it is not set.
  std::string Where(std::string_view key) const;
  // For rules that concern several keys. Placed at `key`.
  void AddError(std::string_view key, std::string message);

  // OK, or INVALID_ARGUMENT with all errors by line, one a line; keys that
  // were never read come as unknown, each with the nearest known key.
  absl::Status Finish();

 private:
  class Impl;
  int ReadWord(std::string_view key,
               const std::vector<std::string_view>& words);
  bool ReadWords(std::string_view key,
                 const std::vector<std::string_view>& words,
                 std::size_t min_size, std::size_t max_size,
                 std::vector<int>* chosen);
  std::unique_ptr<Impl> impl_;
};

// "1h30m", "10s", "500ms", "250us"; a bare number is seconds. False if `text`
// is none of them, is negative or does not fit.
bool ParseDuration(std::string_view text, Duration* value);
// The shortest text that ParseDuration reads back to the same value.
std::string FormatDuration(Duration value);

}  // namespace steadyrun
