#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/rpc/backend.h"
#include "server/rpc/credentials.h"
#include "server/rpc/pending_replies.h"
#include "server/rpc/policy_backtest.h"
#include "server/storage/event_log.h"
#include "server/storage/history.h"
#include "server/storage/site_alerts.h"
#include "steadyrun/v1/operator.pb.h"

namespace steadyrun {

// All outlive the OperatorApi.
struct OperatorBackend {
  EventSink* sink = nullptr;
  const LiveState* live = nullptr;
  History* history = nullptr;
  PendingReplies* replies = nullptr;
  const Clock* clock = nullptr;
  EventLog* events = nullptr;         // Null: there are none.
  SiteAlerts* site_alerts = nullptr;  // Null: none are kept.
};

// The operator's methods, whatever carries them: gRPC and HTTP call this same
// object. Requests are checked for form here; who may call what was checked
// before. Thread-safe. Queries read the live view and the store and take at
// most milliseconds; actions return at once and call `done` later.
class OperatorApi {
 public:
  using Done = std::function<void(absl::StatusOr<v1::ActionReply>)>;

  explicit OperatorApi(OperatorBackend backend);

  // `done` is called exactly once, on any thread: when the action is
  // committed, when it is refused, or UNAVAILABLE after the deadline.
  void Launch(const Principal& who, const v1::LaunchRequest& request,
              Done done);
  void Act(const Principal& who, const v1::ActionRequest& request, Done done);

  absl::Status ListRuns(const v1::ListRunsRequest& request,
                        v1::ListRunsReply* reply) const;
  absl::Status GetRun(const v1::GetRunRequest& request,
                      v1::RunView* reply) const;
  absl::Status ListIncidents(const v1::ListIncidentsRequest& request,
                             v1::ListIncidentsReply* reply) const;
  absl::Status GetIncident(const v1::GetIncidentRequest& request,
                           v1::Incident* reply) const;
  absl::Status ListNodes(const v1::ListNodesRequest& request,
                         v1::ListNodesReply* reply) const;
  absl::Status ListCheckpoints(const v1::ListCheckpointsRequest& request,
                               v1::ListCheckpointsReply* reply) const;
  absl::Status GetReport(const v1::GetReportRequest& request,
                         v1::StabilityReport* reply) const;
  absl::Status GetSteps(const v1::GetStepsRequest& request,
                        v1::StepSeries* reply) const;
  absl::Status ListAudit(const v1::ListAuditRequest& request,
                         v1::ListAuditReply* reply) const;
  // Takes seconds for a long run; call it where that does no harm.
  absl::Status Backtest(const v1::BacktestRequest& request,
                        v1::BacktestReply* reply) const;
  absl::Status ListEvents(const v1::ListEventsRequest& request,
                          v1::ListEventsReply* reply) const;
  absl::Status GetServerInfo(const v1::GetServerInfoRequest& request,
                             v1::ServerInfo* reply) const;

  // Kept as evidence for the incidents around them.
  absl::Status TakeSiteAlerts(const std::vector<SiteAlert>& alerts) const;
  // operator_detail.cc
  absl::Status PlanAction(const v1::ActionRequest& request,
                          v1::ActionPlan* reply) const;
  absl::Status GetIncidentStory(const v1::GetIncidentRequest& request,
                                v1::IncidentStory* reply) const;
  absl::Status GetPolicy(const v1::GetPolicyRequest& request,
                         v1::PolicyView* reply) const;
  absl::Status GetRankHeatmap(const v1::GetRankHeatmapRequest& request,
                              v1::RankHeatmap* reply) const;
  absl::Status GetRankSeries(const v1::GetRankSeriesRequest& request,
                             v1::RankSeries* reply) const;
  absl::Status ListMetrics(const v1::ListMetricsRequest& request,
                           v1::ListMetricsReply* reply) const;
  absl::Status GetMetricSeries(const v1::GetMetricSeriesRequest& request,
                               v1::MetricSeries* reply) const;

  const LiveState& Live() const { return *backend_.live; }

 private:
  void AddSiteAlerts(const Incident& incident, v1::Incident* reply) const;
  absl::Status CheckRunIsKnown(const RunId& run) const;
  // The live one, or the stored one of a run the engine no longer holds.
  absl::StatusOr<RunState> StateOf(const RunId& run) const;
  void Submit(std::function<Event(std::uint64_t)> make_event, Done done);

  const OperatorBackend backend_;
  const std::unique_ptr<PolicyBacktest> backtest_;
};

}  // namespace steadyrun
