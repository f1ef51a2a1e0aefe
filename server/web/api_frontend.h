#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/rpc/credentials.h"
#include "server/rpc/operator_api.h"
#include "server/rpc/wrong_token_limit.h"
#include "server/web/event_hub.h"
#include "server/web/http_server.h"
#include "server/web/journal_feed.h"

namespace steadyrun {

struct ApiFrontendOptions {
  // Host names, beside loopback ones, under which browsers may reach the
  // server ("Host" and "Origin" are checked against DNS rebinding).
  std::vector<std::string> allowed_hosts;
  // Served over TLS: cookies are for it only.
  bool is_secure = false;
  const Clock* clock = nullptr;    // Of login cookies; outlives the frontend.
  EventHub* events = nullptr;      // Null: no live events are served.
  JournalFeed* journal = nullptr;  // Null: the journal is not streamed.
};

// The dashboard, /healthz, /readyz, /version, /metrics, /api/v1/... and
// POST /api/steadyrun.v1.OperatorService/<Method>. What the pointers name
// outlives it. Thread-safe.
class ApiFrontend final : public HttpFrontend {
 public:
  ApiFrontend(ApiFrontendOptions options, OperatorApi* api,
              const TokenSet* tokens,
              std::function<std::string()> render_metrics);
  ~ApiFrontend() override;

  std::size_t MaxBody(const std::string& method,
                      const std::string& path) const override;
  void Handle(const HttpRequest& request, Respond respond) override;

  WrongTokenLimit::Counts WrongTokens() const;  // For metrics.

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace steadyrun
