#include "server/rpc/operator_api.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "base/status_macros.h"
#include "proto/messages/checks.h"
#include "proto/messages/convert.h"
#include "server/rpc/operator_convert.h"
#include "server/rpc/step_window.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

// A cable that failed so long before is a likely cause.
constexpr auto kSiteAlertMargin = std::chrono::minutes(10);

// With tokens, the token says who it is; without, the caller is believed.
std::string ActorOf(const Principal& who, const std::string& claimed) {
  if (!who.name.empty()) {
    return claimed.empty() || claimed == who.name
               ? who.name
               : fmt::format("{} ({})", who.name, claimed);
  }
  return claimed.empty() ? "operator" : claimed;
}

v1::ActionReply ToReply(const ReplyToOperator& effect) {
  v1::ActionReply reply;
  reply.set_message(CleanText(effect.message));
  reply.set_run(effect.run);
  reply.set_attempt(effect.attempt.value);
  reply.set_step(effect.step.value);
  reply.set_duplicate(effect.is_duplicate);
  return reply;
}

const RunView* FindRun(const EngineView& view, const RunId& run) {
  for (const RunView& candidate : view.runs) {
    if (candidate.state.spec.run == run) return &candidate;
  }
  return nullptr;
}

absl::Status NoSuchRun(const EngineView& view, const RunId& run) {
  std::string known;
  for (const RunView& candidate : view.runs) {
    if (known.size() > 200) {
      known += ", ...";
      break;
    }
    known += (known.empty() ? "" : ", ") + candidate.state.spec.run;
  }
  return absl::NotFoundError(fmt::format(
      "no run '{}'; known runs: {}", run,
      known.empty() ? "none, launch one with `steadyrun run`" : known));
}

absl::StatusOr<std::pair<RunId, std::int64_t>> ParseIncidentId(
    const std::string& id) {
  const std::size_t colon = id.rfind(':');
  std::int64_t number = 0;
  if (colon == std::string::npos ||
      !absl::SimpleAtoi(id.substr(colon + 1), &number) || number < 1 ||
      !IsValidName(std::string_view(id).substr(0, colon))) {
    return checks::Bad("id", fmt::format("{} bytes", id.size()),
                       "RUN:NUMBER, such as gpt:3");
  }
  return std::pair(id.substr(0, colon), number);
}

}  // namespace

OperatorApi::OperatorApi(OperatorBackend backend)
    : backend_(std::move(backend)),
      backtest_(std::make_unique<PolicyBacktest>(backend_.history)) {}

void OperatorApi::Submit(std::function<Event(std::uint64_t)> make_event,
                         Done done) {
  const ServiceStatus status = backend_.live->Status();
  if (!status.storage_ok) {
    done(absl::UnavailableError(fmt::format(
        "nothing was done: the store cannot commit ({}); try again with the "
        "same request_id once there is room",
        status.storage_error)));
    return;
  }
  // Kept here too, for the case that the engine does not take it.
  const auto shared = std::make_shared<Done>(std::move(done));
  const std::uint64_t reply_to =
      backend_.replies->Add([shared](const ReplyToOperator& effect) {
        if (effect.status.ok()) {
          (*shared)(ToReply(effect));
        } else {
          (*shared)(effect.status);
        }
      });
  if (reply_to == 0) {
    (*shared)(absl::UnavailableError(
        "nothing was done: too many actions wait; try again"));
    return;
  }
  if (backend_.sink->TryPush(make_event(reply_to))) return;
  if (backend_.replies->Forget(reply_to)) {
    (*shared)(absl::UnavailableError(
        "nothing was done: the server's queue is full; try again"));
  }
}

void OperatorApi::Launch(const Principal& who, const v1::LaunchRequest& request,
                         Done done) {
  absl::StatusOr<LaunchRequested> launch = ReadLaunch(request);
  if (!launch.ok()) return done(launch.status());
  launch->actor = ActorOf(who, request.actor());
  Submit(
      [event = *std::move(launch)](std::uint64_t reply_to) mutable {
        event.reply_to = reply_to;
        return Event(std::move(event));
      },
      std::move(done));
}

void OperatorApi::Act(const Principal& who, const v1::ActionRequest& request,
                      Done done) {
  absl::StatusOr<ActionRequested> action = ReadAction(request);
  if (!action.ok()) return done(action.status());
  action->actor = ActorOf(who, request.actor());
  Submit(
      [event = *std::move(action)](std::uint64_t reply_to) mutable {
        event.reply_to = reply_to;
        return Event(std::move(event));
      },
      std::move(done));
}

absl::Status OperatorApi::CheckRunIsKnown(const RunId& run) const {
  RETURN_IF_ERROR(checks::Name("run", run));
  const auto view = backend_.live->View();
  if (FindRun(*view, run) != nullptr) return absl::OkStatus();
  const auto stored = backend_.history->Run(run);
  if (absl::IsNotFound(stored.status())) return NoSuchRun(*view, run);
  return stored.status();
}

absl::Status OperatorApi::ListRuns(const v1::ListRunsRequest&,
                                   v1::ListRunsReply* reply) const {
  const auto view = backend_.live->View();
  std::set<RunId> live;
  for (const RunView& run : view->runs) {
    live.insert(run.state.spec.run);
    WriteRun(run, reply->add_runs());
  }
  // A store that cannot be read must not hide what is running now.
  const auto stored = backend_.history->Runs();
  if (!stored.ok()) return absl::OkStatus();
  for (const RunState& run : *stored) {
    if (live.count(run.spec.run) != 0) continue;
    WriteRun(ViewOfEnded(run), reply->add_runs());
  }
  return absl::OkStatus();
}

absl::Status OperatorApi::GetRun(const v1::GetRunRequest& request,
                                 v1::RunView* reply) const {
  RETURN_IF_ERROR(checks::Name("run", request.run()));
  const auto view = backend_.live->View();
  if (const RunView* run = FindRun(*view, request.run())) {
    WriteRun(*run, reply);
    return absl::OkStatus();
  }
  const auto stored = backend_.history->Run(request.run());
  if (absl::IsNotFound(stored.status())) {
    return NoSuchRun(*view, request.run());
  }
  RETURN_IF_ERROR(stored.status());
  WriteRun(ViewOfEnded(*stored), reply);
  return absl::OkStatus();
}

absl::Status OperatorApi::ListIncidents(const v1::ListIncidentsRequest& request,
                                        v1::ListIncidentsReply* reply) const {
  RETURN_IF_ERROR(checks::InRange("limit", request.limit(), 0, kMaxListed));
  if (!request.run().empty()) RETURN_IF_ERROR(CheckRunIsKnown(request.run()));
  IncidentFilter filter;
  filter.run = request.run();
  filter.only_open = request.only_open();
  if (request.limit() > 0) filter.limit = request.limit();
  ASSIGN_OR_RETURN(const auto incidents, backend_.history->Incidents(filter));
  for (const Incident& incident : incidents) {
    WriteIncident(incident, reply->add_incidents());
  }
  return absl::OkStatus();
}

absl::Status OperatorApi::GetIncident(const v1::GetIncidentRequest& request,
                                      v1::Incident* reply) const {
  ASSIGN_OR_RETURN(const auto id, ParseIncidentId(request.id()));
  ASSIGN_OR_RETURN(const Incident incident,
                   backend_.history->FindIncident(id.first, id.second));
  WriteIncident(incident, reply);
  AddSiteAlerts(incident, reply);
  return absl::OkStatus();
}

absl::Status OperatorApi::TakeSiteAlerts(
    const std::vector<SiteAlert>& alerts) const {
  if (backend_.site_alerts == nullptr) {
    return absl::UnimplementedError("no alerts are kept here");
  }
  return backend_.site_alerts->Save(alerts);
}

// What fired on the run's nodes around the incident. Without them, if the
// store cannot be read: they are an extra.
void OperatorApi::AddSiteAlerts(const Incident& incident,
                                v1::Incident* reply) const {
  if (backend_.site_alerts == nullptr) return;
  SiteAlertQuery query;
  query.run = incident.run;
  query.nodes.insert(incident.culprit.node);
  const auto view = backend_.live->View();
  if (const RunView* run = FindRun(*view, incident.run)) {
    for (const NodeAssignment& one : run->state.placement) {
      query.nodes.insert(one.node);
    }
  }
  query.from = incident.onset - kSiteAlertMargin;
  query.to = (incident.recovered > WallTime() ? incident.recovered
                                              : backend_.clock->WallNow());
  const auto found = backend_.site_alerts->Find(query);
  if (!found.ok()) return;
  for (const SiteAlert& alert : *found) {
    reply->add_evidence(CleanText(fmt::format(
        "site alert {}{}{} ({}, {}): {}", alert.name,
        alert.node.empty() ? "" : " on ", alert.node,
        alert.severity.empty() ? "no severity" : alert.severity,
        alert.ends > WallTime() ? "resolved" : "firing", alert.text)));
  }
}

absl::Status OperatorApi::ListNodes(const v1::ListNodesRequest&,
                                    v1::ListNodesReply* reply) const {
  const auto view = backend_.live->View();
  for (const NodeView& node : view->nodes) WriteNode(node, reply->add_nodes());
  return absl::OkStatus();
}

absl::Status OperatorApi::ListCheckpoints(
    const v1::ListCheckpointsRequest& request,
    v1::ListCheckpointsReply* reply) const {
  RETURN_IF_ERROR(CheckRunIsKnown(request.run()));
  ASSIGN_OR_RETURN(const auto checkpoints,
                   backend_.history->Checkpoints(request.run()));
  for (const Checkpoint& checkpoint : checkpoints) {
    WriteCheckpoint(checkpoint, reply->add_checkpoints());
  }
  return absl::OkStatus();
}

absl::Status OperatorApi::GetReport(const v1::GetReportRequest& request,
                                    v1::StabilityReport* reply) const {
  RETURN_IF_ERROR(CheckRunIsKnown(request.run()));
  const auto view = backend_.live->View();
  RunState state;
  if (const RunView* live = FindRun(*view, request.run())) {
    state = live->state;
  } else {
    ASSIGN_OR_RETURN(state, backend_.history->Run(request.run()));
  }
  IncidentFilter filter;
  filter.run = request.run();
  filter.limit = kMaxListed;
  ASSIGN_OR_RETURN(auto incidents, backend_.history->Incidents(filter));
  ASSIGN_OR_RETURN(auto checkpoints,
                   backend_.history->Checkpoints(request.run()));
  WriteReport(BuildReport(std::move(state), std::move(incidents),
                          std::move(checkpoints), backend_.clock->WallNow()),
              reply);
  return absl::OkStatus();
}

absl::Status OperatorApi::GetSteps(const v1::GetStepsRequest& request,
                                   v1::StepSeries* reply) const {
  RETURN_IF_ERROR(
      checks::InRange("max_buckets", request.max_buckets(), 0, kMaxBuckets));
  RETURN_IF_ERROR(CheckRunIsKnown(request.run()));
  StepQuery query;
  RETURN_IF_ERROR(ReadStepWindow(request, &query));
  if (request.max_buckets() > 0) query.max_buckets = request.max_buckets();
  query.abandoned = request.abandoned();
  ASSIGN_OR_RETURN(const auto buckets, backend_.history->Steps(query));
  WriteSteps(buckets, reply);
  return absl::OkStatus();
}

absl::Status OperatorApi::ListAudit(const v1::ListAuditRequest& request,
                                    v1::ListAuditReply* reply) const {
  RETURN_IF_ERROR(checks::InRange("limit", request.limit(), 0, kMaxListed));
  if (!request.run().empty()) RETURN_IF_ERROR(CheckRunIsKnown(request.run()));
  constexpr std::int32_t kDefaultLimit = 1000;
  ASSIGN_OR_RETURN(const auto entries,
                   backend_.history->Audit(request.run(), request.limit() > 0
                                                              ? request.limit()
                                                              : kDefaultLimit));
  for (const StoredAudit& entry : entries) {
    WriteAudit(entry, reply->add_entries());
  }
  return absl::OkStatus();
}

absl::Status OperatorApi::Backtest(const v1::BacktestRequest& request,
                                   v1::BacktestReply* reply) const {
  RETURN_IF_ERROR(CheckRunIsKnown(request.run()));
  return backtest_->Run(request, reply);
}

absl::Status OperatorApi::ListEvents(const v1::ListEventsRequest& request,
                                     v1::ListEventsReply* reply) const {
  RETURN_IF_ERROR(checks::InRange("limit", request.limit(), 0, kMaxEventBatch));
  RETURN_IF_ERROR(
      checks::InRange("after_seq", request.after_seq(), 0, INT64_MAX));
  if (!request.run().empty()) RETURN_IF_ERROR(CheckRunIsKnown(request.run()));
  if (backend_.events == nullptr) return absl::OkStatus();
  EventQuery query;
  query.after = request.after_seq();
  query.run = request.run();
  if (request.limit() > 0) query.limit = request.limit();
  // First: an event that comes in between is listed rather than passed over.
  ASSIGN_OR_RETURN(const std::int64_t newest, backend_.events->NewestEvent());
  ASSIGN_OR_RETURN(const auto events, backend_.events->Events(query));
  for (const StoredEvent& event : events) {
    WriteEvent(event, reply->add_events());
  }
  reply->set_newest_seq(newest);
  return absl::OkStatus();
}

absl::Status OperatorApi::GetServerInfo(const v1::GetServerInfoRequest&,
                                        v1::ServerInfo* reply) const {
  WriteServer(backend_.live->Status(), backend_.live->View()->sessions, reply);
  return absl::OkStatus();
}

}  // namespace steadyrun
