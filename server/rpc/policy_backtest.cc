#include "server/rpc/policy_backtest.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "proto/messages/checks.h"
#include "proto/messages/convert.h"
#include "replay/policy_comparison.h"
#include "server/policy/policy_parser.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

using replay::PolicyComparer;
using replay::PolicyComparison;

// Findings of a policy in one reply; the counts count all.
constexpr int kMaxListedFindings = 1000;

// Clears the flag it was made for.
class Busy {
 public:
  explicit Busy(std::atomic<bool>* flag) : flag_(flag) {}
  ~Busy() { *flag_ = false; }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

 private:
  std::atomic<bool>* flag_;
};

// Where the ranks of an attempt were is stored for the current one only.
WatchedAttempt AttemptOf(const StepRow& row, const RunState& state) {
  WatchedAttempt attempt;
  attempt.run = state.spec.run;
  attempt.attempt = row.attempt;
  attempt.target_steps = state.spec.target_steps;
  const auto world = static_cast<std::size_t>(std::max(row.world_size, 0));
  attempt.rank_nodes.resize(world);
  if (row.attempt != state.attempt) return attempt;
  const auto per_node = static_cast<std::size_t>(state.spec.ranks_per_node);
  for (const NodeAssignment& node : state.placement) {
    const std::size_t first =
        static_cast<std::size_t>(node.node_rank) * per_node;
    for (std::size_t i = first; i < std::min(first + per_node, world); ++i) {
      attempt.rank_nodes[i] = node.node;
    }
  }
  return attempt;
}

struct Extent {
  bool is_cut = false;
  AttemptId attempt;  // Where the reading stopped.
  Step step = kNoStep;
};

absl::StatusOr<Extent> FeedRows(const RunState& state, AttemptId from,
                                History* history, PolicyComparer* comparer) {
  RowQuery query;
  query.run = state.spec.run;
  query.attempt = from;
  Extent extent;
  AttemptId current;
  std::int64_t rows = 0;
  std::int64_t values = 0;
  for (;;) {
    ASSIGN_OR_RETURN(const std::vector<StepRow> page, history->Rows(query));
    if (page.empty()) return extent;
    for (const StepRow& row : page) {
      if (row.attempt != current) {
        current = row.attempt;
        comparer->Begin(AttemptOf(row, state));
      }
      comparer->Take(row);
      values += static_cast<std::int64_t>(row.values.size());
      query.attempt = extent.attempt = row.attempt;
      query.step = extent.step = row.step;
      if (++rows >= PolicyBacktest::kMaxRows ||
          values >= PolicyBacktest::kMaxValues) {
        extent.is_cut = true;
        return extent;
      }
    }
  }
}

void WriteSide(const replay::PolicySide& side, v1::BacktestSide* out) {
  out->set_answer(side.answer);
  out->set_fired(side.fired);
  out->set_acted(side.acted);
  out->set_left_alone(side.left_alone);
  out->set_steps_lost(side.steps_lost);
}

void WriteFindings(
    const replay::BacktestResult& result,
    google::protobuf::RepeatedPtrField<v1::BacktestFinding>* out) {
  for (const replay::BacktestFinding& found : result.findings) {
    if (out->size() >= kMaxListedFindings) return;
    const Finding& finding = found.finding;
    v1::BacktestFinding* entry = out->Add();
    entry->set_kind(std::string(IncidentKindName(finding.kind)));
    entry->set_detector(finding.detector);
    entry->set_attempt(finding.attempt.value);
    entry->set_onset_step(finding.onset_step.value);
    entry->set_detected_step(found.detected_step.value);
    entry->mutable_culprit()->set_node(finding.culprit.node);
    entry->mutable_culprit()->set_rank(finding.culprit.rank.value);
    entry->set_severity(std::string(SeverityName(finding.severity)));
    entry->set_action(found.answer.text);
    entry->set_acts(found.answer.acts);
    entry->set_reason(CleanText(finding.reason));
    for (const std::string& line : finding.evidence) {
      entry->add_evidence(CleanText(line));
    }
  }
}

void WriteNotes(const RunState& state, const Extent& extent,
                const PolicyComparison& comparison, v1::BacktestReply* reply) {
  reply->add_notes(
      "Kinds from rows are found again in the stored rows. Others are the "
      "recorded incidents: heartbeats are not kept, so changed deadlines of "
      "hangs and silence do not show.");
  reply->add_notes(
      "An attempt counts up to the first action that ends it: what the rows "
      "say after it would not have happened.");
  reply->add_notes(
      "Steps lost: of kinds from rows an estimate, from the newest complete "
      "checkpoint before the rollback point to the step of detection; of "
      "others what was recorded. What a fault costs that nobody acts on is "
      "not estimated.");
  if (extent.is_cut) {
    reply->add_notes(fmt::format(
        "Only {} rows were replayed, up to step {} of attempt {}; begin later "
        "with --from-attempt.",
        comparison.rows, extent.step.value, extent.attempt.value));
  }
  if (comparison.rows == 0) {
    reply->add_notes(
        "No rows are stored in full: nothing was found again. Retention rolls "
        "old steps up.");
  } else if (state.max_step.value > 2 * comparison.rows) {
    reply->add_notes(fmt::format(
        "The run has made {} steps, but {} rows are stored in full: older "
        "ones were rolled up, or not every step was logged.",
        state.max_step.value, comparison.rows));
  }
}

}  // namespace

absl::Status PolicyBacktest::Run(const v1::BacktestRequest& request,
                                 v1::BacktestReply* reply) {
  RETURN_IF_ERROR(checks::InRange("from_attempt", request.from_attempt(), 0,
                                  checks::kMaxStep));
  ASSIGN_OR_RETURN(
      const Policy after,
      ParsePolicy(request.policy_toml(), request.policy_file().empty()
                                             ? "policy"
                                             : request.policy_file()));
  ASSIGN_OR_RETURN(const RunState state, history_->Run(request.run()));
  ASSIGN_OR_RETURN(const Policy before,
                   ParsePolicy(state.spec.policy_toml, state.spec.policy_file));
  if (is_busy_.exchange(true)) {
    return absl::UnavailableError("another backtest runs; try again");
  }
  const Busy busy(&is_busy_);
  replay::PastRun past;
  IncidentFilter filter;
  filter.run = request.run();
  filter.limit = kMaxListed;
  ASSIGN_OR_RETURN(past.incidents, history_->Incidents(filter));
  std::erase_if(past.incidents, [&](const Incident& incident) {
    return incident.attempt.value < request.from_attempt() ||
           incident.attempt < state.first_attempt;
  });
  ASSIGN_OR_RETURN(past.checkpoints, history_->Checkpoints(request.run()));
  PolicyComparer comparer(before, after, std::move(past));
  ASSIGN_OR_RETURN(
      const Extent extent,
      FeedRows(state, AttemptId{request.from_attempt()}, history_, &comparer));
  const PolicyComparison comparison = comparer.Finish();
  reply->set_run(request.run());
  reply->set_rows(comparison.rows);
  reply->set_attempts(comparison.attempts);
  reply->set_first_step(comparison.first.value);
  reply->set_last_step(comparison.last.value);
  reply->set_is_cut(extent.is_cut);
  for (const replay::KindComparison& kind : comparison.kinds) {
    v1::BacktestKind* out = reply->add_kinds();
    out->set_kind(std::string(IncidentKindName(kind.kind)));
    out->set_is_from_rows(kind.is_from_rows);
    out->set_recorded(kind.recorded);
    out->set_recorded_acted(kind.recorded_acted);
    out->set_recorded_steps_lost(kind.recorded_steps_lost);
    WriteSide(kind.before, out->mutable_before());
    WriteSide(kind.after, out->mutable_after());
  }
  reply->set_before_halt(comparison.before_halt);
  reply->set_after_halt(comparison.after_halt);
  WriteFindings(comparison.before, reply->mutable_before_findings());
  WriteFindings(comparison.after, reply->mutable_after_findings());
  WriteNotes(state, extent, comparison, reply);
  return absl::OkStatus();
}

}  // namespace steadyrun
