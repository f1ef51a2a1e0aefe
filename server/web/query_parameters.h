#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "server/web/http_server.h"

namespace steadyrun {

// What stands behind the '?' of a request, as values. One that is missing is
// zero, or empty; status() is INVALID_ARGUMENT and names the first bad one.
class QueryParameters {
 public:
  // `request` outlives it.
  explicit QueryParameters(const HttpRequest& request)
      : query_(request.query) {}

  std::int64_t Int64(const std::string& name);
  std::int32_t Int32(const std::string& name);
  bool Flag(const std::string& name) { return Int64(name) != 0; }
  std::string Text(const std::string& name) const;

  const absl::Status& status() const { return status_; }

 private:
  std::int64_t Number(const std::string& name, std::int64_t most);

  const std::map<std::string, std::string>& query_;
  absl::Status status_;
};

}  // namespace steadyrun
