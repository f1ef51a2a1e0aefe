#include "agent/logs/clean_text.h"

#include <re2/re2.h>

#include <cstdint>

namespace steadyrun::agent {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

bool IsContinuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

// Decodes one code point at `at`; how many bytes it took. Damaged bytes give
// U+FFFD and take one byte.
std::size_t Decode(std::string_view text, std::size_t at, char32_t* out) {
  const auto first = static_cast<unsigned char>(text[at]);
  *out = kReplacement;
  if (first < 0x80) {
    *out = first;
    return 1;
  }
  std::size_t size = 0;
  char32_t value = 0;
  char32_t least = 0;
  if ((first & 0xE0) == 0xC0) {
    size = 2, value = first & 0x1Fu, least = 0x80;
  } else if ((first & 0xF0) == 0xE0) {
    size = 3, value = first & 0x0Fu, least = 0x800;
  } else if ((first & 0xF8) == 0xF0) {
    size = 4, value = first & 0x07u, least = 0x10000;
  } else {
    return 1;
  }
  if (at + size > text.size()) return 1;
  for (std::size_t i = 1; i < size; ++i) {
    if (!IsContinuation(text[at + i])) return 1;
    value = (value << 6) | (static_cast<unsigned char>(text[at + i]) & 0x3Fu);
  }
  const bool is_surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < least || value > 0x10FFFF || is_surrogate) return 1;
  *out = value;
  return size;
}

// Controls, and what reorders or breaks the line on a screen.
bool IsHarmful(char32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x200B && c <= 0x200F) ||
         (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) ||
         c == 0xFEFF;
}

// Bytes of the escape sequence at `at`, which holds ESC.
std::size_t EscapeSize(std::string_view text, std::size_t at) {
  std::size_t end = at + 1;
  if (end >= text.size()) return 1;
  if (text[end] == '[') {  // CSI: parameters, then one final byte.
    ++end;
    while (end < text.size() && text[end] >= 0x20 && text[end] < 0x40) ++end;
    return end < text.size() ? end + 1 - at : end - at;
  }
  if (text[end] == ']') {  // OSC: until BEL or ESC \.
    while (end < text.size() && text[end] != '\a' && text[end] != '\x1b') {
      ++end;
    }
    return end < text.size() ? end + 1 - at : end - at;
  }
  return 2;
}

}  // namespace

std::string CleanLine(std::string_view line, std::size_t max_bytes) {
  std::string out;
  out.reserve(std::min(line.size(), max_bytes));
  std::size_t at = 0;
  while (at < line.size()) {
    if (line[at] == '\x1b') {
      at += EscapeSize(line, at);
      continue;
    }
    char32_t c = 0;
    const std::size_t size = Decode(line, at, &c);
    std::string_view bytes = line.substr(at, size);
    at += size;
    if (c == kReplacement) bytes = "\xEF\xBF\xBD";
    if (c == '\t') bytes = " ";
    if (c != '\t' && IsHarmful(c)) continue;
    if (out.size() + bytes.size() > max_bytes) break;
    out.append(bytes);
  }
  return out;
}

std::string MaskSecrets(std::string_view line) {
  // Names as in the usual environment variables and settings; the value is
  // what follows up to a blank, comma, quote or bracket.
  static const RE2 kNamed(
      R"re((?i)([\w.-]*(?:token|secret|passwd|password|api_?key|access_?key|credentials?|private_?key)\b["']?\s*[=:]\s*["']?)([^\s"',;)\]}]{3,}))re");
  static const RE2 kOption(
      R"re((?i)(--?[\w-]*(?:token|secret|passwd|password|api-?key|access-?key)\s+)([^\s"'-][^\s"']{2,}))re");
  static const RE2 kBearer(
      R"re((?i)((?:authorization["']?\s*[=:]\s*["']?)?(?:bearer|basic)\s+)([\w.+/=~-]{6,}))re");
  // Prefixes by which the issuers themselves make keys recognisable.
  static const RE2 kPrefixed(
      R"re(\b(hf_|ghp_|gho_|ghs_|github_pat_|glpat-|sk-|xox[abp]-|AKIA|ya29\.)[\w-]{8,})re");
  static const RE2 kUrl(R"re((://[^/\s:@]+:)([^/\s@]+)(@))re");
  std::string text(line);
  RE2::GlobalReplace(&text, kBearer, R"(\1***)");
  RE2::GlobalReplace(&text, kPrefixed, R"(\1***)");
  RE2::GlobalReplace(&text, kUrl, R"(\1***\3)");
  RE2::GlobalReplace(&text, kOption, R"(\1***)");
  RE2::GlobalReplace(&text, kNamed, R"(\1***)");
  return text;
}

}  // namespace steadyrun::agent
