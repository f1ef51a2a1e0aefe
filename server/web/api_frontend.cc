#include "server/web/api_frontend.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "base/status_macros.h"
#include "nlohmann/json.hpp"
#include "proto/messages/checks.h"
#include "server/web/alert_hook.h"
#include "server/web/assets.h"
#include "server/web/json_api.h"
#include "server/web/login_sessions.h"
#include "server/web/reply_cache.h"
#include "server/web/request_guard.h"
#include "server/web/series_json.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

constexpr std::size_t kMaxBody = 64 << 10;
constexpr std::size_t kMaxLaunchBody = 256 << 10;
constexpr std::string_view kMethodPrefix = "/api/steadyrun.v1.OperatorService/";
constexpr std::string_view kLogin = "/api/v1/login";
constexpr std::string_view kLogout = "/api/v1/logout";
constexpr std::string_view kAlertHook = "/api/v1/hooks/alertmanager";
constexpr std::string_view kApiPrefix = "/api/v1/";
// The engine ticks ten times a second; two seconds without one is a stall.
constexpr Duration kTickStall = std::chrono::seconds(2);

HttpResponse Text(int status, std::string text) {
  HttpResponse response;
  response.status = status;
  response.body = std::move(text);
  return response;
}

// "runs/gpt/steps" as its parts.
std::vector<std::string> Split(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(part.size() + 1, path.size()));
    if (!part.empty()) parts.emplace_back(part);
  }
  return parts;
}

absl::StatusOr<std::int64_t> IntParameter(const HttpRequest& request,
                                          const std::string& name) {
  const auto it = request.query.find(name);
  if (it == request.query.end()) return 0;
  std::int64_t value = 0;
  if (!absl::SimpleAtoi(it->second, &value) || value < 0 ||
      value > checks::kMaxStep) {
    return checks::Bad(name, fmt::format("{} bytes", it->second.size()),
                       "a number, 0 or more");
  }
  return value;
}

absl::StatusOr<std::int32_t> Int32Parameter(const HttpRequest& request,
                                            const std::string& name) {
  ASSIGN_OR_RETURN(const std::int64_t value, IntParameter(request, name));
  RETURN_IF_ERROR(checks::InRange(name, value, 0, INT32_MAX));
  return static_cast<std::int32_t>(value);
}

HttpResponse Json(std::string body) {
  HttpResponse response;
  response.content_type = "application/json";
  response.body = std::move(body);
  return response;
}

HttpResponse SessionJson(const Principal& who, bool is_required) {
  return Json(nlohmann::json{{"role", std::string(RoleName(who.role))},
                             {"name", who.name},
                             {"tokens_required", is_required}}
                  .dump() +
              "\n");
}

HttpResponse AssetResponse(const HttpRequest& request, const Asset& asset) {
  HttpResponse response;
  response.content_type = std::string(asset.content_type);
  response.headers["etag"] = asset.etag;
  response.headers["vary"] = "Accept-Encoding";
  // A name with a version never changes; the page itself is asked for anew.
  response.headers["cache-control"] =
      request.query.count("v") != 0 ? "public, max-age=31536000, immutable"
                                    : "no-cache";
  if (request.Header("if-none-match") == asset.etag) {
    response.status = 304;
    return response;
  }
  if (!asset.gzip.empty() && request.Header("accept-encoding").find("gzip") !=
                                 std::string_view::npos) {
    response.headers["content-encoding"] = "gzip";
    response.body = std::string(asset.gzip);
  } else {
    response.body = std::string(asset.bytes);
  }
  return response;
}

template <typename Request, typename Reply>
absl::StatusOr<HttpResponse> Answer(
    const OperatorApi& api, const Request& request,
    absl::Status (OperatorApi::*method)(const Request&, Reply*) const) {
  Reply reply;
  RETURN_IF_ERROR((api.*method)(request, &reply));
  return JsonResponse(reply);
}

}  // namespace

class ApiFrontend::Impl {
 public:
  Impl(ApiFrontendOptions options, OperatorApi* api, const TokenSet* tokens,
       std::function<std::string()> render_metrics)
      : options_(std::move(options)),
        sessions_(options_.clock),
        api_(api),
        tokens_(tokens),
        render_metrics_(std::move(render_metrics)) {
    for (std::string& host : options_.allowed_hosts) {
      host = absl::AsciiStrToLower(host);
    }
  }

  void Handle(const HttpRequest& request, const Respond& respond) {
    if (const auto status = CheckHost(request, options_.allowed_hosts);
        !status.ok()) {
      return respond(ErrorResponse(status));
    }
    if (request.path.compare(0, kMethodPrefix.size(), kMethodPrefix) == 0) {
      return HandleMethod(request, respond);
    }
    if (request.method == "POST" &&
        (request.path == kLogin || request.path == kLogout)) {
      auto response = HandleLogin(request);
      return respond(response.ok() ? *std::move(response)
                                   : ErrorResponse(response.status()));
    }
    if (request.path == kAlertHook && request.method == "POST") {
      auto taken = TakeAlerts(request);
      return respond(taken.ok() ? *std::move(taken)
                                : ErrorResponse(taken.status()));
    }
    if (request.method != "GET" && request.method != "HEAD") {
      HttpResponse refused = ErrorResponse(
          absl::UnimplementedError("only GET and HEAD are served here"));
      refused.status = 405;
      refused.headers["allow"] = "GET, HEAD";
      return respond(std::move(refused));
    }
    auto response = HandleGet(request);
    respond(response.ok() ? *std::move(response)
                          : ErrorResponse(response.status()));
  }

 private:
  void HandleMethod(const HttpRequest& request, const Respond& respond) {
    const std::string method = request.path.substr(kMethodPrefix.size());
    if (request.method != "POST") {
      HttpResponse refused =
          ErrorResponse(absl::UnimplementedError("methods are called by POST"));
      refused.status = 405;
      refused.headers["allow"] = "POST";
      return respond(std::move(refused));
    }
    const auto role = RoleOfMethod(method);
    if (!role.ok()) return respond(ErrorResponse(role.status()));
    if (const auto status = CheckAction(request); !status.ok()) {
      return respond(ErrorResponse(status));
    }
    const auto who = Authorize(request, *role);
    if (!who.ok()) return respond(ErrorResponse(who.status()));
    CallMethod(api_, *who, method, request.body, respond);
  }

  absl::StatusOr<HttpResponse> TakeAlerts(const HttpRequest& request) const {
    // Alertmanager sends no header of ours, as CheckAction asks for; a browser
    // gives itself away by these.
    if (!request.Header("origin").empty() ||
        !request.Header("sec-fetch-site").empty()) {
      return absl::PermissionDeniedError("this is for Alertmanager, no page");
    }
    if (!request.Header("content-type").starts_with("application/json")) {
      return absl::InvalidArgumentError(
          "Content-Type: expected application/json");
    }
    RETURN_IF_ERROR(
        tokens_->CheckHeader(request.Header("authorization"), Role::kOperator)
            .status());
    ASSIGN_OR_RETURN(const auto alerts, ReadAlertHook(request.body));
    RETURN_IF_ERROR(api_->TakeSiteAlerts(alerts));
    return Text(200, "ok\n");
  }

  // A token in the header, or the cookie that a browser got for one.
  absl::StatusOr<Principal> Authorize(const HttpRequest& request, Role needed) {
    const std::string_view header = request.Header("authorization");
    if (header.empty() && tokens_->IsRequired()) {
      if (const auto who = sessions_.Find(request)) {
        RETURN_IF_ERROR(CheckRole(*who, needed));
        return *who;
      }
    }
    return tokens_->CheckHeader(header, needed);
  }

  absl::StatusOr<HttpResponse> HandleLogin(const HttpRequest& request) {
    RETURN_IF_ERROR(CheckAction(request));
    if (request.path == kLogout) {
      HttpResponse response = Json("{}\n");
      response.headers["set-cookie"] = sessions_.Close(request);
      return response;
    }
    const auto body = nlohmann::json::parse(request.body, nullptr, false);
    if (!body.is_object() || !body.contains("token") ||
        !body["token"].is_string()) {
      return checks::Bad("body", "something else", "{\"token\": \"...\"}");
    }
    ASSIGN_OR_RETURN(
        const Principal who,
        tokens_->CheckToken(body["token"].get<std::string>(), Role::kViewer));
    HttpResponse response = SessionJson(who, tokens_->IsRequired());
    response.headers["set-cookie"] = sessions_.Open(who, options_.is_secure);
    return response;
  }

  absl::StatusOr<HttpResponse> Events(const HttpRequest& request) const {
    if (options_.events == nullptr) {
      return absl::NotFoundError("this server tells no live events");
    }
    // A browser sends the header when it comes back by itself; a page that
    // opens a new stream can only put it into the query.
    std::string last(request.Header("last-event-id"));
    if (const auto it = request.query.find("last"); it != request.query.end()) {
      if (last.empty()) last = it->second;
    }
    HttpResponse response;
    response.content_type = "text/event-stream";
    auto stream = options_.events->Subscribe(last);
    if (!stream.ok()) {
      response = ErrorResponse(
          absl::UnavailableError(std::string(stream.status().message())));
      response.headers["retry-after"] = "5";
      return response;
    }
    if (request.method == "GET") response.stream = *std::move(stream);
    return response;
  }

  absl::StatusOr<HttpResponse> Follow(const HttpRequest& request) const {
    if (options_.journal == nullptr) {
      return absl::NotFoundError("this server streams no journal");
    }
    ASSIGN_OR_RETURN(std::int64_t after, IntParameter(request, "after"));
    // A client that comes back by itself says how far it had got.
    const std::string last(request.Header("last-event-id"));
    if (!last.empty() && (!absl::SimpleAtoi(last, &after) || after < 0)) {
      return checks::Bad("Last-Event-ID", last, "the number of an event");
    }
    const auto run = request.query.find("run");
    HttpResponse response;
    response.content_type = "text/event-stream";
    auto stream = options_.journal->Follow(
        after, run == request.query.end() ? "" : run->second);
    if (!stream.ok()) {
      response = ErrorResponse(
          absl::UnavailableError(std::string(stream.status().message())));
      response.headers["retry-after"] = "5";
      return response;
    }
    if (request.method == "GET") response.stream = *std::move(stream);
    return response;
  }

  absl::StatusOr<HttpResponse> HandleGet(const HttpRequest& request) {
    if (const auto asset = FindAsset(request.path)) {
      return AssetResponse(request, *asset);
    }
    if (request.path == "/healthz") return Text(200, "ok\n");
    if (request.path == "/readyz") return Ready();
    ASSIGN_OR_RETURN(const Principal who, Authorize(request, Role::kViewer));
    if (request.path == "/api/v1/session") {
      const bool is_required = tokens_->IsRequired();
      return SessionJson(is_required ? who : Principal{Role::kOperator, ""},
                         is_required);
    }
    if (request.path == "/api/v1/events") return Events(request);
    if (request.path == "/api/v1/journal/stream") return Follow(request);
    if (request.path == "/metrics") {
      HttpResponse response = Text(200, render_metrics_());
      response.content_type = "text/plain; version=0.0.4; charset=utf-8";
      return response;
    }
    if (request.path == "/version") return Version();
    if (request.path.compare(0, kApiPrefix.size(), kApiPrefix) == 0) {
      return HandleApi(request);
    }
    return absl::NotFoundError("nothing is served at this path");
  }

  HttpResponse Ready() const {
    const ServiceStatus status = api_->Live().Status();
    if (!status.storage_ok) {
      return Text(503,
                  "the store cannot commit: " + status.storage_error + "\n");
    }
    if (status.tick_age > kTickStall) {
      return Text(503, fmt::format("the engine has not ticked for {:.1f} s\n",
                                   ToSeconds(status.tick_age)));
    }
    return Text(200, "ready\n");
  }

  absl::StatusOr<HttpResponse> Version() const {
    return Answer(*api_, v1::GetServerInfoRequest(),
                  &OperatorApi::GetServerInfo);
  }

  absl::StatusOr<HttpResponse> HandleApi(const HttpRequest& request) {
    const auto parts =
        Split(std::string_view(request.path).substr(kApiPrefix.size()));
    if (parts.empty()) {
      return absl::NotFoundError("nothing is served at this path");
    }
    if (parts.size() == 1) return HandleList(request, parts[0]);
    if (parts[0] == "sd" && parts.size() == 2 && parts[1] == "agents") {
      return AgentTargets();
    }
    if (parts[0] == "runs" && parts.size() == 2) {
      v1::GetRunRequest get;
      get.set_run(parts[1]);
      return Answer(*api_, get, &OperatorApi::GetRun);
    }
    if (parts[0] == "runs" && parts.size() == 3) {
      return CachedRunPart(request, parts[1], parts[2]);
    }
    if (parts[0] == "incidents" && parts.size() == 3 && parts[2] == "story") {
      v1::GetIncidentRequest get;
      get.set_id(parts[1]);
      return Answer(*api_, get, &OperatorApi::GetIncidentStory);
    }
    if (parts[0] == "incidents" && parts.size() == 2) {
      v1::GetIncidentRequest get;
      get.set_id(parts[1]);
      return Answer(*api_, get, &OperatorApi::GetIncident);
    }
    return absl::NotFoundError("nothing is served at this path");
  }

  absl::StatusOr<HttpResponse> HandleList(const HttpRequest& request,
                                          const std::string& what) const {
    if (what == "runs") {
      return Answer(*api_, v1::ListRunsRequest(), &OperatorApi::ListRuns);
    }
    if (what == "nodes") {
      return Answer(*api_, v1::ListNodesRequest(), &OperatorApi::ListNodes);
    }
    if (what == "incidents") return Incidents(request, "");
    if (what == "audit") return Audit(request, "");
    if (what == "journal") return Journal(request);
    return absl::NotFoundError("nothing is served at this path");
  }

  // Curves are what viewers read over and over.
  absl::StatusOr<HttpResponse> CachedRunPart(const HttpRequest& request,
                                             const std::string& run,
                                             const std::string& part) {
    const bool is_cached = part == "curve" || part == "heatmap" ||
                           part == "metric" || part == "metrics";
    if (!is_cached || options_.clock == nullptr) {
      return HandleRunPart(request, run, part);
    }
    const MonoTime now = options_.clock->MonoNow();
    if (const HttpResponse* kept = cache_.Find(request, now)) return *kept;
    ASSIGN_OR_RETURN(HttpResponse response, HandleRunPart(request, run, part));
    cache_.Put(request, response, now);
    return response;
  }

  absl::StatusOr<HttpResponse> HandleRunPart(const HttpRequest& request,
                                             const std::string& run,
                                             const std::string& part) const {
    if (part == "incidents") return Incidents(request, run);
    if (part == "audit") return Audit(request, run);
    if (part == "steps") return Steps(request, run);
    if (part == "checkpoints") {
      v1::ListCheckpointsRequest list;
      list.set_run(run);
      return Answer(*api_, list, &OperatorApi::ListCheckpoints);
    }
    if (part == "report") return Report(run);
    if (part == "curve") return Curve(request, run);
    if (part == "heatmap") return Heatmap(request, run);
    if (part == "metric") return MetricCurveOf(request, run);
    if (part == "metrics") {
      v1::ListMetricsRequest list;
      list.set_run(run);
      return Answer(*api_, list, &OperatorApi::ListMetrics);
    }
    if (part == "policy") {
      v1::GetPolicyRequest get;
      get.set_run(run);
      return Answer(*api_, get, &OperatorApi::GetPolicy);
    }
    return absl::NotFoundError("nothing is served at this path");
  }

  absl::StatusOr<HttpResponse> Incidents(const HttpRequest& request,
                                         const std::string& run) const {
    v1::ListIncidentsRequest list;
    list.set_run(run);
    ASSIGN_OR_RETURN(const auto limit, Int32Parameter(request, "limit"));
    ASSIGN_OR_RETURN(const auto open, IntParameter(request, "open"));
    list.set_limit(limit);
    list.set_only_open(open != 0);
    return Answer(*api_, list, &OperatorApi::ListIncidents);
  }

  absl::StatusOr<HttpResponse> Audit(const HttpRequest& request,
                                     const std::string& run) const {
    v1::ListAuditRequest list;
    list.set_run(run);
    ASSIGN_OR_RETURN(const auto limit, Int32Parameter(request, "limit"));
    list.set_limit(limit);
    return Answer(*api_, list, &OperatorApi::ListAudit);
  }

  // Not /events: that is the live feed of the dashboard.
  absl::StatusOr<HttpResponse> Journal(const HttpRequest& request) const {
    v1::ListEventsRequest list;
    ASSIGN_OR_RETURN(const auto after, IntParameter(request, "after"));
    ASSIGN_OR_RETURN(const auto limit, Int32Parameter(request, "limit"));
    list.set_after_seq(after);
    list.set_limit(limit);
    if (const auto run = request.query.find("run");
        run != request.query.end()) {
      list.set_run(run->second);
    }
    return Answer(*api_, list, &OperatorApi::ListEvents);
  }

  absl::StatusOr<HttpResponse> Steps(const HttpRequest& request,
                                     const std::string& run) const {
    ASSIGN_OR_RETURN(const auto get, ReadSteps(request, run));
    return Answer(*api_, get, &OperatorApi::GetSteps);
  }

  // The same columns in a third of the bytes.
  absl::StatusOr<HttpResponse> Curve(const HttpRequest& request,
                                     const std::string& run) const {
    ASSIGN_OR_RETURN(const auto get, ReadSteps(request, run));
    v1::StepSeries series;
    RETURN_IF_ERROR(api_->GetSteps(get, &series));
    return Json(CurveJson(series));
  }

  absl::StatusOr<HttpResponse> Heatmap(const HttpRequest& request,
                                       const std::string& run) const {
    v1::GetRankHeatmapRequest get;
    get.set_run(run);
    ASSIGN_OR_RETURN(const auto from, IntParameter(request, "from"));
    ASSIGN_OR_RETURN(const auto to, IntParameter(request, "to"));
    ASSIGN_OR_RETURN(const auto rows, Int32Parameter(request, "rows"));
    ASSIGN_OR_RETURN(const auto columns, Int32Parameter(request, "columns"));
    get.set_from_step(from);
    get.set_to_step(to);
    get.set_max_rows(rows);
    get.set_max_columns(columns);
    return Answer(*api_, get, &OperatorApi::GetRankHeatmap);
  }

  absl::StatusOr<HttpResponse> MetricCurveOf(const HttpRequest& request,
                                             const std::string& run) const {
    v1::GetMetricSeriesRequest get;
    get.set_run(run);
    const auto name = request.query.find("name");
    if (name != request.query.end()) get.set_name(name->second);
    ASSIGN_OR_RETURN(const auto from, IntParameter(request, "from"));
    ASSIGN_OR_RETURN(const auto to, IntParameter(request, "to"));
    ASSIGN_OR_RETURN(const auto buckets, Int32Parameter(request, "buckets"));
    get.set_from_step(from);
    get.set_to_step(to);
    get.set_max_buckets(buckets);
    v1::MetricSeries series;
    RETURN_IF_ERROR(api_->GetMetricSeries(get, &series));
    return Json(MetricJson(series));
  }

  static absl::StatusOr<v1::GetStepsRequest> ReadSteps(
      const HttpRequest& request, const std::string& run) {
    v1::GetStepsRequest get;
    get.set_run(run);
    ASSIGN_OR_RETURN(const auto from, IntParameter(request, "from"));
    ASSIGN_OR_RETURN(const auto to, IntParameter(request, "to"));
    ASSIGN_OR_RETURN(const auto buckets, Int32Parameter(request, "buckets"));
    get.set_from_step(from);
    get.set_to_step(to);
    get.set_max_buckets(buckets);
    ASSIGN_OR_RETURN(const auto abandoned, IntParameter(request, "abandoned"));
    get.set_abandoned(abandoned != 0);
    return get;
  }

  // http_sd_config of Prometheus: all agents that serve /metrics, each time.
  HttpResponse AgentTargets() const {
    nlohmann::json targets = nlohmann::json::array();
    for (const NodeView& node : api_->Live().View()->nodes) {
      if (node.state.metrics_address.empty()) continue;
      targets.push_back(
          {{"targets", nlohmann::json::array({node.state.metrics_address})},
           {"labels",
            {{"__meta_steadyrun_node", node.state.node},
             {"__meta_steadyrun_status", node.status}}}});
    }
    HttpResponse response;
    response.content_type = "application/json";
    response.body =
        targets.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return response;
  }

  // As `steadyrun report --json` prints it.
  absl::StatusOr<HttpResponse> Report(const std::string& run) const {
    v1::GetReportRequest get;
    get.set_run(run);
    v1::StabilityReport report;
    RETURN_IF_ERROR(api_->GetReport(get, &report));
    HttpResponse response = JsonResponse(report);
    if (!report.json().empty()) response.body = report.json() + "\n";
    return response;
  }

  ApiFrontendOptions options_;
  LoginSessions sessions_;
  ReplyCache cache_;
  OperatorApi* const api_;
  const TokenSet* const tokens_;
  const std::function<std::string()> render_metrics_;
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

}  // namespace steadyrun
