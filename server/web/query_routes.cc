#include "server/web/query_routes.h"

#include <utility>

#include "base/status_macros.h"
#include "server/web/query_parameters.h"
#include "server/web/responses.h"
#include "server/web/series_json.h"

namespace steadyrun {
namespace {

// How path and query get into a method's request.
constexpr auto kNothing = [](const RouteCall&, QueryParameters&, auto&) {};
constexpr auto kRun = [](const RouteCall& call, QueryParameters&,
                         auto& request) { request.set_run(call.values[0]); };
constexpr auto kId = [](const RouteCall& call, QueryParameters&,
                        auto& request) { request.set_id(call.values[0]); };

// The run is the path's, or none: of all runs.
std::string RunOf(const RouteCall& call) {
  return call.values.empty() ? "" : call.values[0];
}

template <typename Request>
void FillWindow(const RouteCall& call, QueryParameters& query,
                Request& request) {
  request.set_run(call.values[0]);
  request.set_from_step(query.Int64("from"));
  request.set_to_step(query.Int64("to"));
}

void FillIncidents(const RouteCall& call, QueryParameters& query,
                   v1::ListIncidentsRequest& request) {
  request.set_run(RunOf(call));
  request.set_limit(query.Int32("limit"));
  request.set_only_open(query.Flag("open"));
}

void FillAudit(const RouteCall& call, QueryParameters& query,
               v1::ListAuditRequest& request) {
  request.set_run(RunOf(call));
  request.set_limit(query.Int32("limit"));
}

void FillJournal(const RouteCall&, QueryParameters& query,
                 v1::ListEventsRequest& request) {
  request.set_after_seq(query.Int64("after"));
  request.set_limit(query.Int32("limit"));
  request.set_run(query.Text("run"));
}

void FillSteps(const RouteCall& call, QueryParameters& query,
               v1::GetStepsRequest& request) {
  FillWindow(call, query, request);
  request.set_max_buckets(query.Int32("buckets"));
  request.set_abandoned(query.Flag("abandoned"));
}

void FillMetric(const RouteCall& call, QueryParameters& query,
                v1::GetMetricSeriesRequest& request) {
  request.set_run(call.values[0]);
  request.set_name(query.Text("name"));
  request.set_from_step(query.Int64("from"));
  request.set_to_step(query.Int64("to"));
  request.set_max_buckets(query.Int32("buckets"));
}

void FillHeatmap(const RouteCall& call, QueryParameters& query,
                 v1::GetRankHeatmapRequest& request) {
  FillWindow(call, query, request);
  request.set_max_rows(query.Int32("rows"));
  request.set_max_columns(query.Int32("columns"));
}

// How a reply is told.
constexpr auto kAsMessage = [](const auto& reply) {
  return JsonResponse(reply);
};
// The same columns in a third of the bytes.
HttpResponse AsCurve(const v1::StepSeries& series) {
  return JsonTextResponse(CurveJson(series));
}
HttpResponse AsMetricCurve(const v1::MetricSeries& series) {
  return JsonTextResponse(MetricJson(series));
}
// As `steadyrun report --json` prints it.
HttpResponse AsReport(const v1::StabilityReport& report) {
  if (report.json().empty()) return JsonResponse(report);
  return JsonTextResponse(report.json() + "\n");
}

template <typename Request, typename Reply>
using Method = absl::Status (OperatorApi::*)(const Request&, Reply*) const;

class QueryRoutes {
 public:
  QueryRoutes(const OperatorApi* api, RouteTable* routes)
      : api_(api), routes_(routes) {}

  template <typename Request, typename Reply, typename Fill,
            typename Tell = decltype(kAsMessage)>
  void Add(std::string_view pattern, Method<Request, Reply> method, Fill fill,
           Tell tell = kAsMessage) {
    routes_->Add(pattern, {HandlerOf(method, fill, tell)});
  }

  // Curves are what viewers read over and over.
  template <typename Request, typename Reply, typename Fill,
            typename Tell = decltype(kAsMessage)>
  void AddShared(std::string_view pattern, Method<Request, Reply> method,
                 Fill fill, Tell tell = kAsMessage) {
    routes_->Add(pattern, {HandlerOf(method, fill, tell),
                           Route::Access::kViewer, /*is_shared=*/true});
  }

 private:
  template <typename Request, typename Reply, typename Fill, typename Tell>
  Route::Handler HandlerOf(Method<Request, Reply> method, Fill fill,
                           Tell tell) const {
    return [api = api_, method, fill,
            tell](const RouteCall& call) -> absl::StatusOr<HttpResponse> {
      Request request;
      QueryParameters query(call.request);
      fill(call, query, request);
      RETURN_IF_ERROR(query.status());
      Reply reply;
      RETURN_IF_ERROR((api->*method)(request, &reply));
      return tell(reply);
    };
  }

  const OperatorApi* const api_;
  RouteTable* const routes_;
};

}  // namespace

void AddQueryRoutes(const OperatorApi* api, RouteTable* table) {
  using Api = OperatorApi;
  QueryRoutes routes(api, table);
  routes.Add("/version", &Api::GetServerInfo, kNothing);
  routes.Add("/api/v1/runs", &Api::ListRuns, kNothing);
  routes.Add("/api/v1/nodes", &Api::ListNodes, kNothing);
  routes.Add("/api/v1/audit", &Api::ListAudit, FillAudit);
  // Not /events: that is the live feed of the dashboard.
  routes.Add("/api/v1/journal", &Api::ListEvents, FillJournal);
  routes.Add("/api/v1/incidents", &Api::ListIncidents, FillIncidents);
  routes.Add("/api/v1/incidents/*", &Api::GetIncident, kId);
  routes.Add("/api/v1/incidents/*/story", &Api::GetIncidentStory, kId);

  routes.Add("/api/v1/runs/*", &Api::GetRun, kRun);
  routes.Add("/api/v1/runs/*/incidents", &Api::ListIncidents, FillIncidents);
  routes.Add("/api/v1/runs/*/audit", &Api::ListAudit, FillAudit);
  routes.Add("/api/v1/runs/*/checkpoints", &Api::ListCheckpoints, kRun);
  routes.Add("/api/v1/runs/*/policy", &Api::GetPolicy, kRun);
  routes.Add("/api/v1/runs/*/report", &Api::GetReport, kRun, AsReport);
  routes.Add("/api/v1/runs/*/steps", &Api::GetSteps, FillSteps);
  routes.AddShared("/api/v1/runs/*/curve", &Api::GetSteps, FillSteps, AsCurve);
  routes.AddShared("/api/v1/runs/*/heatmap", &Api::GetRankHeatmap, FillHeatmap);
  routes.AddShared("/api/v1/runs/*/metrics", &Api::ListMetrics, kRun);
  routes.AddShared("/api/v1/runs/*/metric", &Api::GetMetricSeries, FillMetric,
                   AsMetricCurve);
}

}  // namespace steadyrun
