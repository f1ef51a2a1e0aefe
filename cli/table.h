#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace steadyrun::cli {

// Columns padded to the widest cell (in characters, not bytes); the last one
// is not padded. Control characters of cells are made visible.
class Table {
 public:
  explicit Table(std::vector<std::string> header);
  void Add(std::vector<std::string> row);
  bool IsEmpty() const { return rows_.size() == 1; }
  std::string Render() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// For people: "3.2 s", "4m 10s", "2h 05m"; "-" for a negative value.
std::string FormatSeconds(double seconds);
// Local time "21:05:33", with the date when it is not today.
std::string FormatTime(std::int64_t unix_ms);
std::string FormatBytes(std::int64_t bytes);
// "2.3451", "nan"; "-" when nothing was reported (step < 0).
std::string FormatNumber(double value);
std::string FormatStep(std::int64_t step);  // "-" for -1
// Text from elsewhere, safe for a terminal: no escape sequences.
std::string Printable(std::string_view text);

// ANSI colour when stdout is a terminal and NO_COLOR is unset; the word itself
// always tells the same.
enum class Tone { kGood, kWarn, kBad, kDim, kBold };
std::string Paint(Tone tone, std::string_view text);

}  // namespace steadyrun::cli
