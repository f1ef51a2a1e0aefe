#include "agent/supervisor/python_traceback.h"

#include <re2/re2.h>

namespace steadyrun::agent {
namespace {

constexpr std::size_t kMaxTracebacks = 64;
constexpr std::size_t kMaxFrames = 256;
constexpr std::size_t kMaxMessageLines = 8;

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}
bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool IsHeader(std::string_view line) {
  return Contains(line, "Traceback (most recent call last)");
}

bool IsChain(std::string_view line) {
  return StartsWith(line, "During handling of the above exception") ||
         StartsWith(line, "The above exception was the direct cause");
}

bool IsLibraryFile(std::string_view file) {
  return StartsWith(file, "<") || Contains(file, "/site-packages/") ||
         Contains(file, "/dist-packages/") || Contains(file, "/lib/python3");
}

bool ParseFrame(std::string_view line, TracebackFrame* frame) {
  static const RE2 kFrame(
      R"re(^\s+File "([^"]{1,400})", line \d+(?:, in (\S{1,100}))?)re");
  if (!RE2::PartialMatch(re2::StringPiece(line.data(), line.size()), kFrame,
                         &frame->file, &frame->function)) {
    return false;
  }
  frame->is_library = IsLibraryFile(frame->file);
  return true;
}

// "pkg.SomeError: message", "KeyboardInterrupt".
bool ParseException(std::string_view line, std::string* type) {
  static const RE2 kException(
      R"re(^([A-Za-z_][\w]*(?:\.[A-Za-z_]\w*)*)(?::.*|)$)re");
  return RE2::FullMatch(re2::StringPiece(line.data(), line.size()), kException,
                        type);
}

// Collects one traceback from its header on; where it ends.
std::size_t ParseOne(const std::vector<std::string>& lines, std::size_t at,
                     PythonTraceback* out) {
  out->at = at++;
  for (; at < lines.size(); ++at) {
    const std::string_view line = WithoutRankPrefix(lines[at]);
    if (IsHeader(line)) return at;
    TracebackFrame frame;
    if (ParseFrame(line, &frame)) {
      if (out->frames.size() < kMaxFrames) {
        out->frames.push_back(std::move(frame));
      }
      continue;
    }
    // Source lines and their carets are indented; the exception is not.
    if (line.empty() || line.front() == ' ') continue;
    if (!ParseException(line, &out->type)) return at;
    out->line = std::string(line);
    ++at;
    break;
  }
  for (; at < lines.size() && out->more.size() < kMaxMessageLines; ++at) {
    const std::string_view line = WithoutRankPrefix(lines[at]);
    if (line.empty() || IsHeader(line) || IsChain(line)) break;
    out->more.emplace_back(line);
  }
  return at;
}

}  // namespace

std::string_view WithoutRankPrefix(std::string_view line) {
  static const RE2 kPrefix(
      R"re(^(?:\[(?:default|rank|local_rank)?\d+\](?:<std(?:out|err)>)?: ?|\[\d+,\d+\]<std(?:out|err)>: ?|\d{1,6}: ))re");
  re2::StringPiece rest(line.data(), line.size());
  RE2::Consume(&rest, kPrefix);
  return {rest.data(), rest.size()};
}

std::vector<PythonTraceback> ParseTracebacks(
    const std::vector<std::string>& lines) {
  std::vector<PythonTraceback> found;
  bool is_chained = false;
  std::size_t at = 0;
  while (at < lines.size()) {
    const std::string_view line = WithoutRankPrefix(lines[at]);
    if (IsChain(line)) is_chained = true;
    if (!IsHeader(line)) {
      ++at;
      continue;
    }
    PythonTraceback traceback;
    traceback.follows_previous = is_chained && !found.empty();
    is_chained = false;
    at = ParseOne(lines, at, &traceback);
    if (traceback.line.empty()) continue;  // Cut off by the process's end.
    found.push_back(std::move(traceback));
    if (found.size() > kMaxTracebacks) found.erase(found.begin());
  }
  return found;
}

}  // namespace steadyrun::agent
