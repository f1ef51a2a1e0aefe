#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace steadyrun::agent {

struct TracebackFrame {
  std::string file;
  std::string function;
  bool is_library = false;  // Of Python or an installed package.
};

// One "Traceback (most recent call last):" and its exception.
struct PythonTraceback {
  std::vector<TracebackFrame> frames;  // Outermost first.
  std::string type;                    // "RuntimeError", "torch.OutOf...".
  std::string line;                    // The exception line.
  std::vector<std::string> more;       // Further lines of its message.
  std::size_t at = 0;                  // Index of its first line.
  // It was raised while the one before was handled, or because of it.
  bool follows_previous = false;
};

// Every traceback in the lines, in order; at most 64. Prefixes that launchers
// put before a line ("[rank3]: ", "[default7]:", "3: ") are left out.
std::vector<PythonTraceback> ParseTracebacks(
    const std::vector<std::string>& lines);

// The line without a launcher's prefix.
std::string_view WithoutRankPrefix(std::string_view line);

}  // namespace steadyrun::agent
