#include "server/web/api_frontend.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "base/status_macros.h"
#include "server/web/alert_hook.h"
#include "server/web/assets.h"
#include "server/web/caller_access.h"
#include "server/web/json_api.h"
#include "server/web/query_routes.h"
#include "server/web/reply_cache.h"
#include "server/web/request_guard.h"
#include "server/web/responses.h"
#include "server/web/route_table.h"
#include "server/web/service_routes.h"
#include "server/web/slow_call.h"
#include "server/web/stream_routes.h"

namespace steadyrun {
namespace {

constexpr std::size_t kMaxBody = 64 << 10;
constexpr std::size_t kMaxLaunchBody = 256 << 10;
constexpr std::string_view kMethodPrefix = "/api/steadyrun.v1.OperatorService/";
constexpr std::string_view kLogin = "/api/v1/login";
constexpr std::string_view kLogout = "/api/v1/logout";
constexpr std::string_view kAlertHook = "/api/v1/hooks/alertmanager";

void Answer(absl::StatusOr<HttpResponse> response,
            const HttpFrontend::Respond& respond) {
  respond(response.ok() ? *std::move(response)
                        : ErrorResponse(response.status()));
}

}  // namespace

class ApiFrontend::Impl {
 public:
  Impl(ApiFrontendOptions options, OperatorApi* api, const TokenSet* tokens,
       std::function<std::string()> render_metrics)
      : options_(std::move(options)),
        access_(tokens, options_.clock, options_.is_secure),
        api_(api) {
    for (std::string& host : options_.allowed_hosts) {
      host = absl::AsciiStrToLower(host);
    }
    AddServiceRoutes(&api->Live(), std::move(render_metrics), &routes_);
    AddQueryRoutes(api, &routes_);
    AddStreamRoutes(options_.events, options_.journal, &routes_);
    routes_.Add("/api/v1/session", {[this](const RouteCall& call) {
                  return access_.Session(call.who);
                }});
  }

  void Handle(const HttpRequest& request, const Respond& respond) {
    if (const auto status = CheckHost(request, options_.allowed_hosts);
        !status.ok()) {
      return respond(ErrorResponse(status));
    }
    if (request.path.compare(0, kMethodPrefix.size(), kMethodPrefix) == 0) {
      return HandleMethod(request, respond);
    }
    if (request.method == "GET" || request.method == "HEAD") {
      return Answer(HandleGet(request), respond);
    }
    if (request.method == "POST") {
      if (request.path == kLogin)
        return Answer(access_.LogIn(request), respond);
      if (request.path == kLogout) {
        return Answer(access_.LogOut(request), respond);
      }
      if (request.path == kAlertHook) {
        return Answer(TakeAlerts(request), respond);
      }
    }
    respond(MethodNotAllowed("GET, HEAD", "only GET and HEAD are served here"));
  }

  WrongTokenLimit::Counts WrongTokens() const { return access_.WrongTokens(); }

 private:
  void HandleMethod(const HttpRequest& request, const Respond& respond) {
    const std::string method = request.path.substr(kMethodPrefix.size());
    if (request.method != "POST") {
      return respond(MethodNotAllowed("POST", "methods are called by POST"));
    }
    const auto role = RoleOfMethod(method);
    if (!role.ok()) return respond(ErrorResponse(role.status()));
    if (const auto status = CheckAction(request); !status.ok()) {
      return respond(ErrorResponse(status));
    }
    const auto who = access_.Authorize(request, *role);
    if (!who.ok()) return respond(ErrorResponse(who.status()));
    const auto call = [api = api_, who = *who, method, body = request.body,
                       respond] {
      CallMethod(api, who, method, body, respond);
    };
    // A second one is answered here, at once: that another runs.
    if (IsSlowMethod(method) && slow_call_.Start(call)) return;
    call();
  }

  absl::StatusOr<HttpResponse> TakeAlerts(const HttpRequest& request) {
    RETURN_IF_ERROR(CheckMachine(request));
    RETURN_IF_ERROR(access_.AuthorizeToken(request, Role::kOperator).status());
    ASSIGN_OR_RETURN(const auto alerts, ReadAlertHook(request.body));
    RETURN_IF_ERROR(api_->TakeSiteAlerts(alerts));
    return TextResponse(200, "ok\n");
  }

  absl::StatusOr<HttpResponse> HandleGet(const HttpRequest& request) {
    if (const auto asset = FindAsset(request.path)) {
      return AssetResponse(request, *asset);
    }
    RouteTable::Match found = routes_.Find(request.path);
    RouteCall call{request, std::move(found.values), {}};
    // Whoever may see nothing is not told what there is either.
    if (found.route == nullptr || found.route->access != Route::Access::kOpen) {
      ASSIGN_OR_RETURN(call.who, access_.Authorize(request, Role::kViewer));
    }
    if (found.route == nullptr) {
      return absl::NotFoundError("nothing is served at this path");
    }
    if (!found.route->is_shared || options_.clock == nullptr) {
      return found.route->handler(call);
    }
    const MonoTime now = options_.clock->MonoNow();
    if (const HttpResponse* kept = cache_.Find(request, now)) return *kept;
    ASSIGN_OR_RETURN(HttpResponse response, found.route->handler(call));
    cache_.Put(request, response, now);
    return response;
  }

  ApiFrontendOptions options_;
  CallerAccess access_;
  ReplyCache cache_;
  RouteTable routes_;
  OperatorApi* const api_;
  SlowCall slow_call_;  // Last: it uses the others.
};

ApiFrontend::ApiFrontend(ApiFrontendOptions options, OperatorApi* api,
                         const TokenSet* tokens,
                         std::function<std::string()> render_metrics)
    : impl_(std::make_unique<Impl>(std::move(options), api, tokens,
                                   std::move(render_metrics))) {}
ApiFrontend::~ApiFrontend() = default;

std::size_t ApiFrontend::MaxBody(const std::string& method,
                                 const std::string& path) const {
  if (method != "POST") return 0;
  if (path == kAlertHook) return kMaxHookBody;
  return path == std::string(kMethodPrefix) + "Launch" ? kMaxLaunchBody
                                                       : kMaxBody;
}

void ApiFrontend::Handle(const HttpRequest& request, Respond respond) {
  impl_->Handle(request, respond);
}

WrongTokenLimit::Counts ApiFrontend::WrongTokens() const {
  return impl_->WrongTokens();
}

}  // namespace steadyrun
