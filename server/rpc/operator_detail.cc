// The dashboard's methods of OperatorApi: what an action would do, an
// incident's whole story, ranks by steps. All read-only.

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "base/robust_stats.h"
#include "base/status_macros.h"
#include "proto/messages/checks.h"
#include "proto/messages/convert.h"
#include "server/policy/policy_parser.h"
#include "server/policy/policy_text.h"
#include "server/recovery/recovery_machine.h"
#include "server/rpc/operator_api.h"
#include "server/rpc/operator_convert.h"
#include "server/rpc/step_window.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

constexpr std::int32_t kMaxExits = 64;
constexpr std::size_t kMaxSimilar = 10;

// How long the run stood, in recoveries of the past: detection to the first
// new step, repeated steps included.
std::vector<double> MeasuredDownSeconds(const std::vector<Incident>& all) {
  std::vector<double> seconds;
  for (const Incident& incident : all) {
    if (incident.state != IncidentState::kRecovered) continue;
    if (incident.remediation != "restart" &&
        incident.remediation != "rollback" &&
        incident.remediation != "replace_node") {
      continue;
    }
    const double down =
        ToSeconds(incident.recovery_time - incident.detection_time);
    if (down > 0) seconds.push_back(down);
  }
  return seconds;
}

Order OrderOf(OperatorAction action) {
  switch (action) {
    case OperatorAction::kPause:
      return Order::kPause;
    case OperatorAction::kResume:
      return Order::kResume;
    case OperatorAction::kRollback:
      return Order::kRollback;
    case OperatorAction::kStop:
      return Order::kStop;
    case OperatorAction::kHold:
      return Order::kHold;
    case OperatorAction::kUnhold:
      return Order::kUnhold;
    default:
      return Order::kRestart;
  }
}

// What the recovery machine itself says to the order, on a copy of the state.
absl::Status TryOnCopy(const ActionRequested& action, RunState state,
                       const CheckpointMap& checkpoints, Now now) {
  if (action.action == OperatorAction::kCheckpoint) {
    if (state.phase == RunPhase::kRunning) return absl::OkStatus();
    return absl::FailedPreconditionError(fmt::format(
        "it is {}: only a running one can save", RunPhaseName(state.phase)));
  }
  ASSIGN_OR_RETURN(const Policy policy,
                   ParsePolicy(state.spec.policy_toml, state.spec.policy_file));
  const ClusterView cluster;
  const std::set<NodeId> verified;
  const RecoveryContext context{policy, cluster, checkpoints, verified, {}};
  OperatorOrdered order;
  order.order = OrderOf(action.action);
  order.actor = "plan";
  order.reason = "plan";
  order.step = action.step;
  order.newest_step = state.attempt_step;
  return Advance(&state, order, context, now).status;
}

std::string ResumeText(Step step) {
  return step == kNoStep ? std::string("the beginning")
                         : fmt::format("the checkpoint of step {}", step.value);
}

// What a held run does, in the phase it is in.
std::string HeldNow(const RunState& state) {
  switch (state.phase) {
    case RunPhase::kRunning:
      return "it trains on; a fault will page and wait";
    case RunPhase::kStarting:
      return "its start goes on; a fault will page and wait";
    case RunPhase::kStopping:
      return "its stop goes on to the proof on every node, then it waits";
    case RunPhase::kPlacing:
    case RunPhase::kVerifying:
      return "it is stopped, and waits";
    case RunPhase::kPaused:
    case RunPhase::kHalted:
    case RunPhase::kCompleted:
    case RunPhase::kStopped:
      return fmt::format("it is {}, and stays so", RunPhaseName(state.phase));
  }
  return "";
}

// What the release of a hold lets happen at once.
std::string ReleasedNow(const RunState& state, const std::string& resume) {
  if (state.held_incident != 0) {
    return fmt::format(
        "incident {}:{} is answered as policy says, if it still stands; a "
        "restart would be from {}",
        state.spec.run, state.held_incident, resume);
  }
  if (state.phase == RunPhase::kPlacing) {
    return fmt::format("it starts again from {} when its nodes are usable",
                       resume);
  }
  return "nothing waits for it";
}

std::string EffectOf(OperatorAction action, const v1::ActionPlan& plan,
                     const RunState& state, std::int64_t stopped) {
  const std::string resume = ResumeText(Step{plan.resume_step()});
  switch (action) {
    case OperatorAction::kCheckpoint:
      return "All ranks save at the end of an agreed step and go on.";
    case OperatorAction::kPause:
      return fmt::format(
          "All ranks save, then {} ranks stop and wait for a resume.", stopped);
    case OperatorAction::kResume:
      return fmt::format("Starts again from {}.", resume);
    case OperatorAction::kRestart:
      return fmt::format("Stops {} ranks and starts again from {}.", stopped,
                         resume);
    case OperatorAction::kRollback:
      return fmt::format(
          "Stops {} ranks, starts again from {}, and distrusts every later "
          "checkpoint.",
          stopped, resume);
    case OperatorAction::kStop:
      return fmt::format(
          "Stops {} ranks and ends the run for good; it cannot be resumed.",
          stopped);
    case OperatorAction::kQuarantine:
      return "Later attempts do not use the node; what runs there goes on.";
    case OperatorAction::kRelease:
      return "The node may be used again, with a clean sheet.";
    case OperatorAction::kMute:
      return "Nothing is sent about the run until the mute ends; its incidents "
             "are kept and shown.";
    case OperatorAction::kUnmute:
      return "What is open is sent again.";
    case OperatorAction::kHold:
      return fmt::format(
          "Nothing is stopped or started by itself until the hold is released; "
          "now: {}.",
          HeldNow(state));
    case OperatorAction::kUnhold:
      return fmt::format("Automatic recovery goes on; now: {}.",
                         ReleasedNow(state, resume));
  }
  return "";
}

void WriteExit(const RankExited& exit, v1::RankExited* proto) {
  proto->set_run(exit.run);
  proto->set_attempt(exit.attempt.value);
  proto->set_rank(exit.rank.value);
  proto->mutable_exit()->set_code(exit.exit.code);
  proto->mutable_exit()->set_signal(exit.exit.signal);
  proto->set_step(exit.step.value);
  proto->set_phase(static_cast<v1::Phase>(exit.phase));
  proto->set_error(CleanText(exit.error));
  for (const std::string& line : exit.last_log_lines) {
    proto->add_last_log_lines(CleanText(line));
  }
  proto->set_is_secondary(exit.is_secondary);
  proto->set_signature(CleanText(exit.signature));
}

}  // namespace

absl::StatusOr<RunState> OperatorApi::StateOf(const RunId& run) const {
  RETURN_IF_ERROR(CheckRunIsKnown(run));
  for (const RunView& live : backend_.live->View()->runs) {
    if (live.state.spec.run == run) return live.state;
  }
  return backend_.history->Run(run);
}

absl::Status OperatorApi::PlanAction(const v1::ActionRequest& request,
                                     v1::ActionPlan* reply) const {
  v1::ActionRequest asked = request;
  if (asked.request_id().empty()) asked.set_request_id("plan");
  if (asked.reason().empty()) asked.set_reason("plan");
  ASSIGN_OR_RETURN(const ActionRequested action, ReadAction(asked));
  reply->set_resume_step(kNoStep.value);
  const bool is_quiet = action.action == OperatorAction::kMute ||
                        action.action == OperatorAction::kUnmute;
  if (action.run.empty() || is_quiet) {  // Nothing that runs is touched.
    reply->set_possible(true);
    reply->set_effect(EffectOf(action.action, *reply, {}, 0));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const RunState state, StateOf(action.run));
  ASSIGN_OR_RETURN(const auto stored,
                   backend_.history->Checkpoints(action.run));
  CheckpointMap checkpoints;
  for (const Checkpoint& checkpoint : stored) {
    if (checkpoint.attempt < state.first_attempt) continue;
    checkpoints.emplace(CheckpointKey{checkpoint.step, checkpoint.attempt},
                        checkpoint);
  }
  const absl::Status verdict =
      TryOnCopy(action, state, checkpoints, backend_.clock->Both());
  reply->set_possible(verdict.ok());
  reply->set_why_not(std::string(verdict.message()));
  reply->set_seen_attempt(state.attempt.value);
  reply->set_seen_incidents(state.incidents + 1);

  const bool is_rollback = action.action == OperatorAction::kRollback;
  const CheckpointChoice choice =
      is_rollback ? SelectCheckpoint(checkpoints, std::nullopt, action.step)
                  : SelectCheckpoint(checkpoints, state.rollback_below,
                                     state.rollback_to);
  Step resume = kNoStep;
  if (choice.checkpoint != nullptr) {
    resume = choice.checkpoint->step;
    reply->set_checkpoint_state(
        std::string(CheckpointStateName(choice.checkpoint->state)));
  }
  reply->set_resume_step(resume.value);
  const bool answers_a_fault =
      action.action == OperatorAction::kUnhold && state.held_incident != 0;
  const bool loses_nothing = action.action == OperatorAction::kCheckpoint ||
                             action.action == OperatorAction::kPause ||
                             action.action == OperatorAction::kHold ||
                             action.action == OperatorAction::kUnhold;
  if (!loses_nothing || answers_a_fault) {
    const Step reached =
        state.attempt_step == kNoStep ? state.max_step : state.attempt_step;
    reply->set_steps_lost(
        std::max<std::int64_t>(0, reached.value - resume.value));
  }
  std::int32_t alive = 0;
  for (const RunView& live : backend_.live->View()->runs) {
    if (live.state.spec.run == action.run) alive = live.ranks_alive;
  }
  const bool stops_nothing = action.action == OperatorAction::kCheckpoint ||
                             action.action == OperatorAction::kHold ||
                             action.action == OperatorAction::kUnhold;
  if (stops_nothing && !answers_a_fault) alive = 0;
  reply->set_ranks_stopped(alive);
  if (is_rollback || answers_a_fault ||
      action.action == OperatorAction::kRestart ||
      action.action == OperatorAction::kResume) {
    IncidentFilter filter;
    filter.run = action.run;
    ASSIGN_OR_RETURN(const auto incidents, backend_.history->Incidents(filter));
    const std::vector<double> down = MeasuredDownSeconds(incidents);
    reply->set_down_seconds(Median(down));
    reply->set_down_measured(static_cast<std::int32_t>(down.size()));
  }
  reply->set_destroys_work(is_rollback ||
                           action.action == OperatorAction::kRestart ||
                           action.action == OperatorAction::kStop);
  reply->set_effect(EffectOf(action.action, *reply, state, alive));
  return absl::OkStatus();
}

absl::Status OperatorApi::GetIncidentStory(
    const v1::GetIncidentRequest& request, v1::IncidentStory* reply) const {
  RETURN_IF_ERROR(GetIncident(request, reply->mutable_incident()));
  const v1::Incident& incident = reply->incident();
  ASSIGN_OR_RETURN(const auto exits,
                   backend_.history->RankFailures(incident.run(), kMaxListed));
  std::vector<const StoredRankFailure*> own;
  for (const StoredRankFailure& failure : exits) {
    if (failure.exit.attempt.value != incident.attempt()) continue;
    if (failure.exit.killed_by_agent) continue;  // Ordered: no evidence.
    own.push_back(&failure);
  }
  std::stable_sort(own.begin(), own.end(),
                   [&](const StoredRankFailure* a, const StoredRankFailure* b) {
                     const auto order = [&](const StoredRankFailure& one) {
                       return std::make_tuple(
                           one.exit.rank.value != incident.culprit().rank(),
                           one.exit.is_secondary, one.at);
                     };
                     return order(*a) < order(*b);
                   });
  if (own.size() > kMaxExits) own.resize(kMaxExits);
  for (const StoredRankFailure* failure : own) {
    v1::ExitRecord* out = reply->add_exits();
    WriteExit(failure->exit, out->mutable_exit());
    out->set_node(failure->node);
    out->set_unix_ms(ToUnixMillis(failure->at));
  }
  const std::size_t colon = incident.id().rfind(':');
  const std::int64_t number = std::stoll(incident.id().substr(colon + 1));
  ASSIGN_OR_RETURN(const auto decisions,
                   backend_.history->Decisions(incident.run(), kMaxListed));
  for (auto it = decisions.rbegin(); it != decisions.rend(); ++it) {
    if (it->incident != number) continue;
    v1::DecisionRecord* out = reply->add_decisions();
    out->set_unix_ms(ToUnixMillis(it->at));
    out->set_attempt(it->attempt.value);
    out->set_action(it->action);
    out->set_reason(CleanText(it->reason));
  }
  IncidentFilter filter;  // Of all runs: a bad node is bad for each.
  ASSIGN_OR_RETURN(const auto others, backend_.history->Incidents(filter));
  for (const Incident& other : others) {
    if (other.Id() == incident.id()) continue;
    const bool same_signature =
        !other.signature.empty() && other.signature == incident.signature();
    const bool same_node = !other.culprit.node.empty() &&
                           other.culprit.node == incident.culprit().node() &&
                           IncidentKindName(other.kind) == incident.kind();
    if (!same_signature && !same_node) continue;
    WriteIncident(other, reply->add_similar());
    if (reply->similar_size() >= static_cast<int>(kMaxSimilar)) break;
  }
  return absl::OkStatus();
}

absl::Status OperatorApi::GetPolicy(const v1::GetPolicyRequest& request,
                                    v1::PolicyView* reply) const {
  ASSIGN_OR_RETURN(const RunState state, StateOf(request.run()));
  ASSIGN_OR_RETURN(const Policy policy,
                   ParsePolicy(state.spec.policy_toml, state.spec.policy_file));
  reply->set_run(request.run());
  reply->set_file(state.spec.policy_file);
  reply->set_toml(RenderPolicy(policy));
  reply->set_is_default(state.spec.policy_toml.empty());
  return absl::OkStatus();
}

absl::Status OperatorApi::GetRankHeatmap(
    const v1::GetRankHeatmapRequest& request, v1::RankHeatmap* reply) const {
  RETURN_IF_ERROR(
      checks::InRange("max_rows", request.max_rows(), 0, kMaxMatrixSide));
  RETURN_IF_ERROR(
      checks::InRange("max_columns", request.max_columns(), 0, kMaxMatrixSide));
  ASSIGN_OR_RETURN(const RunState state, StateOf(request.run()));
  RankMatrixQuery query;
  RETURN_IF_ERROR(ReadStepWindow(request, &query));
  if (request.max_rows() > 0) query.max_rows = request.max_rows();
  if (request.max_columns() > 0) query.max_columns = request.max_columns();
  ASSIGN_OR_RETURN(const RankMatrix matrix, backend_.history->Matrix(query));
  reply->set_rows(matrix.rows);
  reply->set_columns(matrix.columns);
  reply->set_cells(matrix.cells);
  reply->set_low(RankMatrix::kLow);
  reply->set_high(RankMatrix::kHigh);
  reply->set_world_size(matrix.world_size);
  reply->set_ranks_per_row(matrix.ranks_per_row);
  reply->set_steps_per_column(matrix.steps_per_column);
  reply->set_first_step(matrix.first.value);
  reply->set_last_step(matrix.last.value);
  reply->set_steps(matrix.steps);
  reply->set_narrowed(matrix.narrowed);
  for (const SlowRank& slow : matrix.slowest) {
    v1::SlowRank* out = reply->add_slowest();
    out->set_rank(slow.rank);
    out->set_node(NodeOfRank(state, Rank{slow.rank}));
    out->set_mean_ratio(slow.mean_ratio);
    out->set_worst_ratio(slow.worst_ratio);
    out->set_worst_step(slow.worst_step.value);
    out->set_mean_seconds(slow.mean_seconds);
  }
  return absl::OkStatus();
}

absl::Status OperatorApi::GetRankSeries(const v1::GetRankSeriesRequest& request,
                                        v1::RankSeries* reply) const {
  RETURN_IF_ERROR(CheckRunIsKnown(request.run()));
  RETURN_IF_ERROR(checks::InRange("rank", request.rank(), 0, checks::kMaxRank));
  RankQuery query;
  RETURN_IF_ERROR(ReadStepWindow(request, &query));
  query.rank = {request.rank()};
  if (request.metric() != v1::METRIC_UNSPECIFIED) {
    query.metric = static_cast<Metric>(request.metric());
  }
  ASSIGN_OR_RETURN(const auto points, backend_.history->RankSeries(query));
  for (const RankPoint& point : points) {
    reply->add_step(point.step.value);
    reply->add_attempt(point.attempt.value);
    reply->add_value(point.value);
  }
  return absl::OkStatus();
}

absl::Status OperatorApi::ListMetrics(const v1::ListMetricsRequest& request,
                                      v1::ListMetricsReply* reply) const {
  RETURN_IF_ERROR(CheckRunIsKnown(request.run()));
  ASSIGN_OR_RETURN(const auto names, backend_.history->Metrics(request.run()));
  for (const std::string& name : names) reply->add_names(name);
  return absl::OkStatus();
}

absl::Status OperatorApi::GetMetricSeries(
    const v1::GetMetricSeriesRequest& request, v1::MetricSeries* reply) const {
  RETURN_IF_ERROR(CheckRunIsKnown(request.run()));
  RETURN_IF_ERROR(checks::Text("name", request.name(), 64));
  RETURN_IF_ERROR(
      checks::InRange("max_buckets", request.max_buckets(), 0, kMaxBuckets));
  MetricQuery query;
  RETURN_IF_ERROR(ReadStepWindow(request, &query));
  query.name = request.name();
  if (request.max_buckets() > 0) query.max_buckets = request.max_buckets();
  ASSIGN_OR_RETURN(const MetricCurve curve,
                   backend_.history->MetricSeries(query));
  for (const MetricBucket& bucket : curve.buckets) {
    reply->add_step(bucket.last.value);
    reply->add_attempt(bucket.attempt.value);
    reply->add_mean(bucket.mean);
    reply->add_min(bucket.min);
    reply->add_max(bucket.max);
    reply->add_nonfinite(bucket.nonfinite);
  }
  reply->set_narrowed(curve.narrowed);
  return absl::OkStatus();
}

}  // namespace steadyrun
