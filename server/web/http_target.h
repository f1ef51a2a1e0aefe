#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace steadyrun {

// Of "%41+b"; empty if an escape is broken or hides a NUL. '+' is kept: only
// forms mean a blank by it.
std::optional<std::string> PercentDecode(std::string_view text);

struct HttpTarget {
  std::string path;  // Decoded; begins with '/', holds no "." or ".." part.
  std::map<std::string, std::string> query;  // The first of equal names.
};

// Reads an origin-form target, "/runs?limit=5". Empty if it is anything else.
std::optional<HttpTarget> ParseTarget(std::string_view target);

}  // namespace steadyrun
