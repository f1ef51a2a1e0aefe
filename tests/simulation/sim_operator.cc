#include "tests/simulation/sim_operator.h"

#include <utility>

namespace steadyrun::sim {

using std::chrono::milliseconds;
using std::chrono::seconds;

SimOperator::SimOperator(SimContext& context, SimServer& server)
    : context_(context), server_(server) {
  server_.SetOnReply([this](const ReplyToOperator& reply) { OnReply(reply); });
}

void SimOperator::Launch(const RunSpec& spec) {
  LaunchRequested launch;
  launch.request_id = fmt::format("request-{}", next_request_++);
  launch.actor = "sim";
  launch.spec = spec;
  waiting_[launch.request_id] = launch;
  Send(launch.request_id);
}

// Of any state: also one that must be refused.
Step SimOperator::AnyCheckpointOf(const RunId& run) {
  std::vector<Step> steps;
  for (const auto& [key, checkpoint] : server_.store().checkpoints()) {
    if (checkpoint.run == run) steps.push_back(checkpoint.step);
  }
  return steps.empty() ? kNoStep : steps[context_.random.Index(steps.size())];
}

void SimOperator::Order(const RunId& run, OperatorAction action,
                        const NodeId& node, Step step) {
  ActionRequested order;
  order.request_id = fmt::format("request-{}", next_request_++);
  order.actor = "sim";
  order.run = run;
  order.action = action;
  order.node = node;
  order.step = step;
  order.reason = "simulation";
  context_.trace.Line(context_.now(), "operator", "{} {} {} ({})",
                      OperatorActionName(action), run, node, order.request_id);
  waiting_[order.request_id] = order;
  Send(order.request_id);
}

void SimOperator::Act(const RunId& run, int nodes) {
  const std::int64_t dice = context_.random.Int(0, 99);
  if (dice < 40) {
    Order(run, OperatorAction::kCheckpoint);
  } else if (dice < 53) {
    Order(run, OperatorAction::kPause);
    const Duration length = context_.random.Time(seconds(5), seconds(60));
    context_.queue.After(length,
                         [this, run] { Order(run, OperatorAction::kResume); });
  } else if (dice < 66) {
    Order(run, OperatorAction::kHold);
    const Duration length = context_.random.Time(seconds(5), seconds(120));
    context_.queue.After(length,
                         [this, run] { Order(run, OperatorAction::kUnhold); });
  } else if (dice < 76) {
    Order(run, OperatorAction::kRestart);
  } else if (dice < 86) {
    Order(run, OperatorAction::kRollback, "", AnyCheckpointOf(run));
  } else if (dice < 99) {
    const NodeId node =
        fmt::format("node-{}", context_.random.Int(0, nodes - 1));
    Order("", OperatorAction::kQuarantine, node);
    context_.queue.After(
        context_.random.Time(seconds(10), seconds(120)),
        [this, node] { Order("", OperatorAction::kRelease, node); });
  } else {
    Order(run, OperatorAction::kStop);
  }
}

void SimOperator::Send(const std::string& request_id) {
  const auto it = waiting_.find(request_id);
  if (it == waiting_.end()) return;
  const std::uint64_t reply_to = next_reply_++;
  callers_[reply_to] = request_id;
  Event event = it->second;
  if (auto* launch = std::get_if<LaunchRequested>(&event)) {
    launch->reply_to = reply_to;
  } else if (auto* action = std::get_if<ActionRequested>(&event)) {
    action->reply_to = reply_to;
  }
  server_.Submit(std::move(event));
  // Again, if no answer comes: a crash loses calls.
  context_.queue.After(context_.random.Time(seconds(2), seconds(6)),
                       [this, request_id] { Send(request_id); });
}

void SimOperator::OnReply(const ReplyToOperator& reply) {
  const auto caller = callers_.find(reply.reply_to);
  if (caller == callers_.end()) return;
  const std::string request_id = caller->second;
  callers_.erase(caller);
  const auto it = waiting_.find(request_id);
  if (it == waiting_.end()) return;
  if (reply.status.code() == absl::StatusCode::kUnavailable) return;
  context_.trace.Line(
      context_.now(), "operator", "{}: {} {}{}", request_id,
      reply.status.ok() ? "accepted" : "refused",
      reply.status.ok() ? reply.message : std::string(reply.status.message()),
      reply.is_duplicate ? " (again)" : "");
  ++answered_;
  // Somebody's retry may come once more, after the answer.
  if (!reply.is_duplicate && context_.random.Chance(0.3)) {
    context_.queue.After(context_.random.Time(milliseconds(10), seconds(30)),
                         [this, request_id, event = it->second] {
                           waiting_[request_id] = event;
                           Send(request_id);
                         });
  }
  waiting_.erase(it);
}

}  // namespace steadyrun::sim
