#include "server/web/query_parameters.h"

#include "absl/strings/numbers.h"
#include "proto/messages/checks.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {

std::int64_t QueryParameters::Number(const std::string& name,
                                     std::int64_t most) {
  const auto it = query_.find(name);
  if (it == query_.end()) return 0;
  std::int64_t value = 0;
  if (absl::SimpleAtoi(it->second, &value) && value >= 0 && value <= most) {
    return value;
  }
  status_.Update(checks::Bad(name, fmt::format("{} bytes", it->second.size()),
                             fmt::format("a number from 0 to {}", most)));
  return 0;
}

std::int64_t QueryParameters::Int64(const std::string& name) {
  return Number(name, checks::kMaxStep);
}

std::int32_t QueryParameters::Int32(const std::string& name) {
  return static_cast<std::int32_t>(Number(name, INT32_MAX));
}

std::string QueryParameters::Text(const std::string& name) const {
  const auto it = query_.find(name);
  return it == query_.end() ? "" : it->second;
}

}  // namespace steadyrun
