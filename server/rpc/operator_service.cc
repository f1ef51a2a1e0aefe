#include "server/rpc/operator_service.h"

#include <grpcpp/grpcpp.h>
#include <pthread.h>

#include <array>
#include <functional>
#include <thread>
#include <utility>

#include "base/bounded_queue.h"
#include "server/rpc/event_watch.h"
#include "server/rpc/status_convert.h"
#include "steadyrun/v1/operator.grpc.pb.h"

namespace steadyrun {
namespace {

using Reactor = grpc::ServerUnaryReactor;
using Context = grpc::CallbackServerContext;

// Runs queries away from gRPC's own threads: those carry the agents' streams,
// and a report over a long history must not silence a heartbeat.
class QueryWorkers {
 public:
  QueryWorkers() {
    for (std::thread& thread : threads_) {
      thread = std::thread([this] { Run(); });
      pthread_setname_np(thread.native_handle(), "sr-query");
    }
  }
  // What waits is still answered.
  ~QueryWorkers() {
    jobs_.Close();
    for (std::thread& thread : threads_) thread.join();
  }

  [[nodiscard]] bool TryPush(std::function<void()> job) {
    return jobs_.TryPush(std::move(job));
  }

 private:
  // People and scripts; beyond this they ask faster than is answered.
  static constexpr std::size_t kMaxWaiting = 256;

  void Run() {
    for (;;) {
      const bool was_closed = jobs_.Closed();
      const auto batch = jobs_.PopBatch(1, std::chrono::seconds(1));
      for (const auto& job : batch) job();
      if (was_closed && batch.empty()) return;
    }
  }

  BoundedQueue<std::function<void()>> jobs_{kMaxWaiting};
  std::array<std::thread, 2> threads_;
};

class OperatorGrpcService final : public v1::OperatorService::CallbackService {
 public:
  OperatorGrpcService(OperatorApi* api, const TokenSet* tokens,
                      EventWatch* watch)
      : api_(api), tokens_(tokens), watch_(watch) {}

  Reactor* Launch(Context* context, const v1::LaunchRequest* request,
                  v1::ActionReply* reply) override {
    return Act(context, request, reply, &OperatorApi::Launch);
  }
  Reactor* Act(Context* context, const v1::ActionRequest* request,
               v1::ActionReply* reply) override {
    return Act(context, request, reply, &OperatorApi::Act);
  }

  Reactor* ListRuns(Context* context, const v1::ListRunsRequest* request,
                    v1::ListRunsReply* reply) override {
    return Query(context, request, reply, &OperatorApi::ListRuns);
  }
  Reactor* GetRun(Context* context, const v1::GetRunRequest* request,
                  v1::RunView* reply) override {
    return Query(context, request, reply, &OperatorApi::GetRun);
  }
  Reactor* ListIncidents(Context* context,
                         const v1::ListIncidentsRequest* request,
                         v1::ListIncidentsReply* reply) override {
    return Query(context, request, reply, &OperatorApi::ListIncidents);
  }
  Reactor* GetIncident(Context* context, const v1::GetIncidentRequest* request,
                       v1::Incident* reply) override {
    return Query(context, request, reply, &OperatorApi::GetIncident);
  }
  Reactor* ListNodes(Context* context, const v1::ListNodesRequest* request,
                     v1::ListNodesReply* reply) override {
    return Query(context, request, reply, &OperatorApi::ListNodes);
  }
  Reactor* ListCheckpoints(Context* context,
                           const v1::ListCheckpointsRequest* request,
                           v1::ListCheckpointsReply* reply) override {
    return Query(context, request, reply, &OperatorApi::ListCheckpoints);
  }
  Reactor* GetReport(Context* context, const v1::GetReportRequest* request,
                     v1::StabilityReport* reply) override {
    return Query(context, request, reply, &OperatorApi::GetReport);
  }
  Reactor* GetSteps(Context* context, const v1::GetStepsRequest* request,
                    v1::StepSeries* reply) override {
    return Query(context, request, reply, &OperatorApi::GetSteps);
  }
  Reactor* ListAudit(Context* context, const v1::ListAuditRequest* request,
                     v1::ListAuditReply* reply) override {
    return Query(context, request, reply, &OperatorApi::ListAudit);
  }
  Reactor* Backtest(Context* context, const v1::BacktestRequest* request,
                    v1::BacktestReply* reply) override {
    return Query(context, request, reply, &OperatorApi::Backtest);
  }
  Reactor* ListEvents(Context* context, const v1::ListEventsRequest* request,
                      v1::ListEventsReply* reply) override {
    return Query(context, request, reply, &OperatorApi::ListEvents);
  }
  EventWatch::Reactor* WatchEvents(
      Context* context, const v1::WatchEventsRequest* request) override {
    const absl::Status who = Authorize(*context, Role::kViewer).status();
    if (!who.ok()) return EventWatch::Refuse(ToGrpc(who));
    if (watch_ == nullptr) {
      return EventWatch::Refuse(
          {grpc::StatusCode::UNIMPLEMENTED, "no events are kept here"});
    }
    return watch_->Watch(*request);
  }
  Reactor* GetServerInfo(Context* context,
                         const v1::GetServerInfoRequest* request,
                         v1::ServerInfo* reply) override {
    return Query(context, request, reply, &OperatorApi::GetServerInfo);
  }
  Reactor* PlanAction(Context* context, const v1::ActionRequest* request,
                      v1::ActionPlan* reply) override {
    return Query(context, request, reply, &OperatorApi::PlanAction);
  }
  Reactor* GetIncidentStory(Context* context,
                            const v1::GetIncidentRequest* request,
                            v1::IncidentStory* reply) override {
    return Query(context, request, reply, &OperatorApi::GetIncidentStory);
  }
  Reactor* GetPolicy(Context* context, const v1::GetPolicyRequest* request,
                     v1::PolicyView* reply) override {
    return Query(context, request, reply, &OperatorApi::GetPolicy);
  }
  Reactor* GetRankHeatmap(Context* context,
                          const v1::GetRankHeatmapRequest* request,
                          v1::RankHeatmap* reply) override {
    return Query(context, request, reply, &OperatorApi::GetRankHeatmap);
  }
  Reactor* GetRankSeries(Context* context,
                         const v1::GetRankSeriesRequest* request,
                         v1::RankSeries* reply) override {
    return Query(context, request, reply, &OperatorApi::GetRankSeries);
  }
  Reactor* ListMetrics(Context* context, const v1::ListMetricsRequest* request,
                       v1::ListMetricsReply* reply) override {
    return Query(context, request, reply, &OperatorApi::ListMetrics);
  }
  Reactor* GetMetricSeries(Context* context,
                           const v1::GetMetricSeriesRequest* request,
                           v1::MetricSeries* reply) override {
    return Query(context, request, reply, &OperatorApi::GetMetricSeries);
  }

 private:
  absl::StatusOr<Principal> Authorize(const Context& context,
                                      Role needed) const {
    const auto& metadata = context.client_metadata();
    const auto it = metadata.find("authorization");
    std::string_view header;
    if (it != metadata.end()) header = {it->second.data(), it->second.size()};
    return tokens_->CheckHeader(header, needed);
  }

  template <typename Request, typename Reply>
  Reactor* Query(Context* context, const Request* request, Reply* reply,
                 absl::Status (OperatorApi::*method)(const Request&, Reply*)
                     const) {
    Reactor* reactor = context->DefaultReactor();
    const absl::Status who = Authorize(*context, Role::kViewer).status();
    if (!who.ok()) {
      reactor->Finish(ToGrpc(who));
      return reactor;
    }
    // Request and reply live until Finish.
    const bool is_taken =
        workers_.TryPush([this, reactor, request, reply, method] {
          reactor->Finish(ToGrpc((api_->*method)(*request, reply)));
        });
    if (!is_taken) {
      reactor->Finish(
          {grpc::StatusCode::UNAVAILABLE, "too many queries wait; try again"});
    }
    return reactor;
  }

  template <typename Request>
  Reactor* Act(Context* context, const Request* request, v1::ActionReply* reply,
               void (OperatorApi::*method)(const Principal&, const Request&,
                                           OperatorApi::Done)) {
    Reactor* reactor = context->DefaultReactor();
    const auto who = Authorize(*context, Role::kOperator);
    if (!who.ok()) {
      reactor->Finish(ToGrpc(who.status()));
      return reactor;
    }
    // Request and reply live until Finish, also when the caller hangs up.
    (api_->*method)(*who, *request,
                    [reactor, reply](absl::StatusOr<v1::ActionReply> result) {
                      if (result.ok()) *reply = *std::move(result);
                      reactor->Finish(ToGrpc(result.status()));
                    });
    return reactor;
  }

  OperatorApi* const api_;
  const TokenSet* const tokens_;
  EventWatch* const watch_;
  QueryWorkers workers_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeOperatorService(OperatorApi* api,
                                                   const TokenSet* tokens,
                                                   EventWatch* watch) {
  return std::make_unique<OperatorGrpcService>(api, tokens, watch);
}

}  // namespace steadyrun
