#include "server/web/route_table.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace steadyrun {
namespace {

// "/runs/gpt/steps" as its parts.
std::vector<std::string> Split(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(part.size() + 1, path.size()));
    if (!part.empty()) parts.emplace_back(part);
  }
  return parts;
}

// What the stars stand for; empty if the pattern does not fit.
std::optional<std::vector<std::string>> Fit(
    const std::vector<std::string>& pattern,
    const std::vector<std::string>& parts) {
  if (pattern.size() != parts.size()) return std::nullopt;
  std::vector<std::string> values;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (pattern[i] == "*") {
      values.push_back(parts[i]);
    } else if (pattern[i] != parts[i]) {
      return std::nullopt;
    }
  }
  return values;
}

}  // namespace

void RouteTable::Add(std::string_view pattern, Route route) {
  entries_.push_back({Split(pattern), std::move(route)});
}

RouteTable::Match RouteTable::Find(std::string_view path) const {
  const std::vector<std::string> parts = Split(path);
  for (const Entry& entry : entries_) {
    if (auto values = Fit(entry.parts, parts)) {
      return {&entry.route, *std::move(values)};
    }
  }
  return {};
}

}  // namespace steadyrun
