// Commands to the nodes of one run: derived, paced, never queued.

#include <utility>

#include "server/engine/run_controller.h"
#include "server/recovery/command_derivation.h"

namespace steadyrun {
namespace {

// The same wish is said again after this, until a heartbeat shows it done.
constexpr Duration kResend = std::chrono::seconds(1);
// Last steps, digests of the last checkpoint and of the parameters arrive
// after the end; a node keeps what it has of the run for this long.
constexpr Duration kForgetAfter = std::chrono::seconds(10);

NodeFacts FactsOf(const NodeEntry& node, Now now, const NodeHearing& hearing) {
  NodeFacts facts;
  facts.node = node.record.node;
  facts.state = node.has_state ? &node.state : nullptr;
  facts.is_connected = node.IsConnected();
  facts.silence = hearing.Silence(node.record.node, now.mono);
  facts.is_quarantined = node.record.is_quarantined;
  return facts;
}

}  // namespace

void RunController::SendCommands(Now now, Outcome* out) {
  wants_commands_ = false;
  for (const auto& [name, node] : core_.sessions->Nodes()) {
    if (node.IsConnected() && Concerns(node)) {
      Send(node, FactsOf(node, now, core_.sessions->Hearing()), now, out);
    }
  }
}

void RunController::SendCommandsTo(const NodeEntry& node, Now now,
                                   Outcome* out) {
  if (!node.IsConnected()) return;
  Send(node, FactsOf(node, now, core_.sessions->Hearing()), now, out);
}

void RunController::Send(const NodeEntry& node, const NodeFacts& facts, Now now,
                         Outcome* out) {
  const DerivationContext context{
      core_.server_epoch,
      policy_,
      ledger_.All(),
      verified_,
      saved_,
      now.mono - state_.phase_since.mono >= kForgetAfter};
  std::vector<Command> commands = DeriveCommands(state_, facts, context);
  if (commands.empty()) return;
  Sent& sent = sent_[node.record.node];
  // A stream takes its commands with it when it ends.
  if (sent.session != node.session) {
    sent.session = node.session;
    sent.at.clear();
  }
  for (Command& command : commands) {
    auto [it, is_new] = sent.at.try_emplace(command.command_id, now.mono);
    if (!is_new && now.mono - it->second < kResend) continue;
    it->second = now.mono;
    out->effects.push_back(SendCommand{node.session, std::move(command)});
  }
}

}  // namespace steadyrun
