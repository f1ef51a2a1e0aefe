#pragma once

// Which function answers a GET. Pure but for what the functions do.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/web/http_server.h"

namespace steadyrun {

// One call of a route.
struct RouteCall {
  const HttpRequest& request;
  std::vector<std::string> values;  // What the pattern's stars stand for.
  Principal who;                    // Not of an open route.
};

struct Route {
  enum class Access { kOpen, kViewer };
  using Handler = std::function<absl::StatusOr<HttpResponse>(const RouteCall&)>;

  Handler handler;
  Access access = Access::kViewer;
  // Many viewers ask for the same at once: a copy of a second ago will do.
  bool is_shared = false;
};

class RouteTable {
 public:
  // "/api/v1/runs/*/steps": a star stands for one part.
  void Add(std::string_view pattern, Route route);

  struct Match {
    const Route* route = nullptr;  // Null: nothing is served at this path.
    std::vector<std::string> values;
  };
  Match Find(std::string_view path) const;

 private:
  struct Entry {
    std::vector<std::string> parts;
    Route route;
  };
  std::vector<Entry> entries_;
};

}  // namespace steadyrun
