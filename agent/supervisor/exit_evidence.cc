#include "agent/supervisor/exit_evidence.h"

#include <re2/re2.h>
#include <signal.h>

#include <algorithm>

#include "agent/logs/clean_text.h"
#include "agent/supervisor/python_traceback.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

constexpr std::size_t kMaxLines = 4000;
constexpr std::size_t kLineBytes = 1000;
constexpr std::size_t kLastLines = 20;
constexpr std::size_t kLastLineBytes = 400;
constexpr std::size_t kSignatureBytes = 160;

// Cleaned lines, newest last. A progress bar writes over itself with CR: the
// last of it is what a person saw.
std::vector<std::string> SplitLines(std::string_view tail) {
  std::vector<std::string> lines;
  while (!tail.empty()) {
    const std::size_t end = std::min(tail.find('\n'), tail.size());
    std::string_view line = tail.substr(0, end);
    tail.remove_prefix(std::min(end + 1, tail.size()));
    while (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    const std::size_t over = line.rfind('\r');
    if (over != std::string_view::npos) line.remove_prefix(over + 1);
    // Holes that a full disk left in the file read as zeros.
    const std::size_t text = line.find_first_not_of('\0');
    if (text == std::string_view::npos) line = {};
    if (!line.empty()) line.remove_prefix(text);
    lines.push_back(CleanLine(line, kLineBytes));
    while (!lines.back().empty() && lines.back().back() == ' ') {
      lines.back().pop_back();
    }
  }
  if (lines.size() > kMaxLines) {
    lines.erase(lines.begin(),
                lines.end() - static_cast<std::ptrdiff_t>(kMaxLines));
  }
  return lines;
}

std::vector<std::string> LastLines(const std::vector<std::string>& lines) {
  std::vector<std::string> last;
  for (auto it = lines.rbegin(); it != lines.rend(); ++it) {
    if (last.size() == kLastLines) break;
    if (it->empty()) continue;
    last.push_back(CleanLine(MaskSecrets(*it), kLastLineBytes));
  }
  std::reverse(last.begin(), last.end());
  return last;
}

// The first of the last chain: what the others were raised because of, or
// while it was being handled.
const PythonTraceback* RootOfLast(const std::vector<PythonTraceback>& found) {
  if (found.empty()) return nullptr;
  std::size_t at = found.size() - 1;
  while (at > 0 && found[at].follows_previous) --at;
  return &found[at];
}

bool IsDistributedFrame(const TracebackFrame& frame) {
  for (const std::string_view part :
       {"torch/distributed/", "torch/nn/parallel/", "deepspeed/comm/",
        "mindspore/communication/", "torch_npu/distributed/"}) {
    if (frame.file.find(part) != std::string::npos) return true;
  }
  return false;
}

// A plain network error counts only inside of a collective: the same text from
// a data loader is the rank's own trouble.
bool IsPlainNetworkError(const PythonTraceback& traceback) {
  for (const std::string_view type :
       {"ConnectionResetError", "BrokenPipeError", "ConnectionAbortedError",
        "ConnectionRefusedError"}) {
    if (traceback.type == type) return true;
  }
  return traceback.line.find("Connection reset by peer") != std::string::npos ||
         traceback.line.find("Connection closed by peer") !=
             std::string::npos ||
         traceback.line.find("Broken pipe") != std::string::npos;
}

bool IsSecondary(const PythonTraceback& traceback) {
  if (IsSecondaryError(traceback.line)) return true;
  for (const std::string& line : traceback.more) {
    if (IsSecondaryError(line)) return true;
  }
  return IsPlainNetworkError(traceback) &&
         std::any_of(traceback.frames.begin(), traceback.frames.end(),
                     IsDistributedFrame);
}

std::string_view BaseName(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

// Innermost frame of the user's own code; of any code if there is none.
std::string SignatureOf(const PythonTraceback& traceback) {
  const TracebackFrame* frame = nullptr;
  for (const TracebackFrame& candidate : traceback.frames) {
    if (frame == nullptr || !candidate.is_library || frame->is_library) {
      frame = &candidate;
    }
  }
  std::string signature = traceback.type;
  if (frame != nullptr) {
    signature +=
        fmt::format(" in {} {}", BaseName(frame->file), frame->function);
  }
  return CleanLine(signature, kSignatureBytes);
}

// Without what differs from one process to the next.
std::string Normalised(std::string_view line) {
  static const RE2 kAddress(R"re(0x[0-9a-fA-F]+)re");
  static const RE2 kBracket(R"re(\[[^\]]*\])re");
  static const RE2 kNumber(R"re(\d+)re");
  std::string text(line);
  RE2::GlobalReplace(&text, kAddress, "@");
  RE2::GlobalReplace(&text, kBracket, "[]");
  RE2::GlobalReplace(&text, kNumber, "#");
  return CleanLine(MaskSecrets(text), kSignatureBytes);
}

// For programs that leave no traceback: the most telling line near the end.
std::string ErrorLine(const std::vector<std::string>& lines) {
  static const RE2 kTelling(
      R"re(^\s*what\(\): |terminate called after|Fatal Python error|^Segmentation fault|^\S*[Ee]rror:|\bFATAL\b|\bCRITICAL\b|panicked at|Assertion .* failed|out of memory|[Oo]ut[Oo]fMemory)re");
  static const RE2 kBad(R"re((?i)\berror\b|\bfailed\b|\bexception\b)re");
  constexpr std::size_t kLook = 200;
  const std::size_t begin = lines.size() > kLook ? lines.size() - kLook : 0;
  for (const RE2* pattern : {&kTelling, &kBad}) {
    for (std::size_t at = lines.size(); at > begin; --at) {
      const std::string_view line = WithoutRankPrefix(lines[at - 1]);
      if (RE2::PartialMatch(re2::StringPiece(line.data(), line.size()),
                            *pattern)) {
        return std::string(line);
      }
    }
  }
  return "";
}

// Collectives' watchdogs end the process with abort(); any other signal is
// the rank's own end, whatever it printed before.
bool CanBeSecondary(const ExitStatus& exit) {
  return exit.signal == 0 || exit.signal == SIGABRT || exit.signal == SIGPIPE;
}

}  // namespace

ExitEvidence ReadExitEvidence(std::string_view tail, const ExitStatus& exit) {
  ExitEvidence evidence;
  const std::vector<std::string> lines = SplitLines(tail);
  evidence.last_lines = LastLines(lines);
  if (exit.signal == 0 && exit.code == 0) return evidence;

  evidence.signature = DescribeExit(exit);
  const auto tracebacks = ParseTracebacks(lines);
  const PythonTraceback* root = RootOfLast(tracebacks);
  const bool is_abrupt = !CanBeSecondary(exit);
  if (root != nullptr && !is_abrupt) {
    evidence.error = CleanLine(MaskSecrets(root->line), kLineBytes);
    evidence.is_secondary = IsSecondary(*root);
    evidence.signature = SignatureOf(*root);
  } else if (!is_abrupt) {
    const std::string line = ErrorLine(lines);
    evidence.error = CleanLine(MaskSecrets(line), kLineBytes);
    // The line that tells most need not be the one that names the peer.
    const std::size_t near = std::min<std::size_t>(lines.size(), 40);
    evidence.is_secondary =
        IsSecondaryError(line) ||
        (exit.signal == SIGABRT &&
         std::any_of(
             lines.end() - static_cast<std::ptrdiff_t>(near), lines.end(),
             [](const std::string& text) { return IsSecondaryError(text); }));
    if (!line.empty()) {
      evidence.signature = CleanLine(
          DescribeExit(exit) + ": " + Normalised(line), kSignatureBytes);
    }
  }
  if (exit.signal == SIGPIPE) evidence.is_secondary = true;
  if (evidence.error.empty())
    evidence.error = "ended with " + DescribeExit(exit);
  return evidence;
}

}  // namespace steadyrun::agent
