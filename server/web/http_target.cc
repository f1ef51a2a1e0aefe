#include "server/web/http_target.h"

#include <algorithm>

namespace steadyrun {
namespace {

constexpr std::size_t kMaxParameters = 32;

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool HasDotSegment(std::string_view path) {
  std::size_t begin = 1;
  while (begin <= path.size()) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part == "." || part == "..") return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

std::optional<std::string> PercentDecode(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = HexValue(text[i + 1]);
    const int low = HexValue(text[i + 2]);
    if (high < 0 || low < 0 || (high == 0 && low == 0)) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

std::optional<HttpTarget> ParseTarget(std::string_view target) {
  if (target.empty() || target.front() != '/') return std::nullopt;
  const std::size_t mark = std::min(target.find('?'), target.size());
  const auto path = PercentDecode(target.substr(0, mark));
  if (!path.has_value() || HasDotSegment(*path)) return std::nullopt;
  HttpTarget result;
  result.path = *path;
  std::string_view rest =
      mark < target.size() ? target.substr(mark + 1) : std::string_view();
  while (!rest.empty()) {
    const std::string_view pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(pair.size() + 1, rest.size()));
    if (pair.empty()) continue;
    const std::size_t equal = std::min(pair.find('='), pair.size());
    const auto name = PercentDecode(pair.substr(0, equal));
    const auto value = PercentDecode(
        equal < pair.size() ? pair.substr(equal + 1) : std::string_view());
    if (!name.has_value() || !value.has_value()) return std::nullopt;
    if (result.query.size() >= kMaxParameters) return std::nullopt;
    result.query.emplace(*name, *value);
  }
  return result;
}

}  // namespace steadyrun
