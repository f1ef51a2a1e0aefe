#include "server/web/service_routes.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "server/web/responses.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

// The engine ticks ten times a second; two seconds without one is a stall.
constexpr Duration kTickStall = std::chrono::seconds(2);

HttpResponse Readiness(const ServiceStatus& status) {
  if (!status.storage_ok) {
    return TextResponse(
        503, "the store cannot commit: " + status.storage_error + "\n");
  }
  if (status.tick_age > kTickStall) {
    return TextResponse(503,
                        fmt::format("the engine has not ticked for {:.1f} s\n",
                                    ToSeconds(status.tick_age)));
  }
  return TextResponse(200, "ready\n");
}

// http_sd_config of Prometheus: all agents that serve /metrics, each time.
HttpResponse AgentTargets(const EngineView& view) {
  nlohmann::json targets = nlohmann::json::array();
  for (const NodeView& node : view.nodes) {
    if (node.state.metrics_address.empty()) continue;
    targets.push_back(
        {{"targets", nlohmann::json::array({node.state.metrics_address})},
         {"labels",
          {{"__meta_steadyrun_node", node.state.node},
           {"__meta_steadyrun_status", node.status}}}});
  }
  return JsonTextResponse(
      targets.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

void AddServiceRoutes(const LiveState* live,
                      std::function<std::string()> render_metrics,
                      RouteTable* routes) {
  routes->Add("/healthz",
              {[](const RouteCall&) { return TextResponse(200, "ok\n"); },
               Route::Access::kOpen});
  routes->Add("/readyz",
              {[live](const RouteCall&) { return Readiness(live->Status()); },
               Route::Access::kOpen});
  routes->Add(
      "/metrics", {[render = std::move(render_metrics)](const RouteCall&) {
        HttpResponse response = TextResponse(200, render());
        response.content_type = "text/plain; version=0.0.4; charset=utf-8";
        return response;
      }});
  routes->Add("/api/v1/sd/agents", {[live](const RouteCall&) {
                return AgentTargets(*live->View());
              }});
}

}  // namespace steadyrun
