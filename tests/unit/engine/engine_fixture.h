#pragma once

// The engine with two nodes whose agents a test plays by hand.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/engine.h"

namespace steadyrun {

template <typename T>
std::vector<T> ChangesOf(const Outcome& outcome) {
  std::vector<T> found;
  for (const Change& change : outcome.changes) {
    if (const T* one = std::get_if<T>(&change)) found.push_back(*one);
  }
  return found;
}
template <typename T>
std::vector<T> EffectsOf(const Outcome& outcome) {
  std::vector<T> found;
  for (const Effect& effect : outcome.effects) {
    if (const T* one = std::get_if<T>(&effect)) found.push_back(*one);
  }
  return found;
}
inline std::vector<std::string> CommandIds(const Outcome& outcome) {
  std::vector<std::string> ids;
  for (const SendCommand& send : EffectsOf<SendCommand>(outcome)) {
    ids.push_back(send.command.command_id);
  }
  return ids;
}

class EngineFixture {
 public:
  explicit EngineFixture(Snapshot snapshot = FirstSnapshot())
      : engine_(EngineOptions{}, std::move(snapshot), now_) {}

  static Snapshot FirstSnapshot() {
    Snapshot snapshot;
    snapshot.server_epoch = 1;
    snapshot.server_id = "test";
    return snapshot;
  }

  Now now_{MonoTime(std::chrono::hours(9)), FromUnixMillis(1'700'000'000'000)};

  void Pass(Duration time) {
    now_.mono += time;
    now_.wall += std::chrono::duration_cast<std::chrono::milliseconds>(time);
  }
  Outcome Step(Event event) { return engine_.Step(std::move(event), now_); }
  Outcome Tick() { return Step(Ticked{}); }
  EngineView View() { return engine_.View(now_); }
  RunView Run() { return View().runs.at(0); }

  Outcome Connect(const std::string& node) {
    NodeState& state = nodes_[node];
    if (state.node.empty()) {
      state.node = node;
      state.boot_id = "k:" + node;
      state.address = "addr-" + node;
      state.rendezvous_port = 29500;
    }
    sessions_[node] = SessionId{++next_session_};
    Hello hello;
    hello.state = state;
    return Step(AgentConnected{sessions_[node], hello});
  }
  Outcome Beat(const std::string& node) {
    return Step(AgentHeartbeat{sessions_[node], nodes_[node]});
  }
  Outcome Tell(const std::string& node, ReportBody body) {
    return Step(AgentReports{sessions_[node],
                             {Report{ReportSeq{++seqs_[node]}, body}}});
  }
  NodeRunState& RunOn(const std::string& node) {
    NodeState& state = nodes_[node];
    if (state.runs.empty()) state.runs.push_back({"gpt", {}, {}, {}});
    return state.runs[0];
  }
  NodeState& Node(const std::string& node) { return nodes_[node]; }
  SessionId Session(const std::string& node) { return sessions_[node]; }
  std::uint64_t& Seq(const std::string& node) { return seqs_[node]; }

  std::string log_format;  // Of the run to be launched.
  Outcome Launch(std::string request = "l1") {
    LaunchRequested launch;
    launch.reply_to = 1;
    launch.request_id = std::move(request);
    launch.actor = "ada";
    launch.spec.run = "gpt";
    launch.spec.argv = {"train"};
    launch.spec.nodes = 2;
    launch.spec.ranks_per_node = 1;
    launch.spec.checkpoint_directory = "/c";
    launch.spec.target_steps = 100;
    launch.spec.log_format = log_format;
    return Step(std::move(launch));
  }
  Outcome Act(OperatorAction action, std::string reason = "why",
              std::string request = "") {
    ActionRequested act;
    act.reply_to = 2;
    act.request_id = request.empty() ? std::to_string(++requests_) : request;
    act.actor = "ada";
    act.run = "gpt";
    act.action = action;
    act.reason = std::move(reason);
    return Step(std::move(act));
  }

  // To the first step: a is node_rank 0, b is 1.
  void StartRun(std::int64_t attempt = 1) {
    if (sessions_.empty()) {
      Connect("a");
      Connect("b");
      Launch();
    }
    for (const std::string node : {"a", "b"}) {
      RunOn(node).floor = AttemptId{attempt};
      Beat(node);
    }
    for (const std::string node : {"a", "b"}) {
      NodeRunState& run = RunOn(node);
      run.started = AttemptId{attempt};
      RankState rank;
      rank.rank = Rank{node == "a" ? 0 : 1};
      rank.attempt = AttemptId{attempt};
      rank.life = RankLife::kAlive;
      run.ranks = {rank};
      Beat(node);
    }
    MakeStep(0, attempt);
  }
  StepBlock Block(std::uint32_t rank, std::int64_t step,
                  std::int64_t attempt = 1) {
    StepBlock block;
    block.run = "gpt";
    block.attempt = AttemptId{attempt};
    block.step = steadyrun::Step{step};
    block.ranks = {rank};
    block.metrics = {static_cast<std::uint32_t>(Metric::kLoss)};
    block.values = {1.0F};
    return block;
  }
  Outcome MakeStep(std::int64_t step, std::int64_t attempt = 1) {
    Tell("a", Block(0, step, attempt));
    return Tell("b", Block(1, step, attempt));
  }
  RankExited Exit(std::int32_t rank, int signal, std::int64_t attempt = 1) {
    RankExited exit;
    exit.run = "gpt";
    exit.attempt = AttemptId{attempt};
    exit.rank = Rank{rank};
    exit.exit.signal = signal;
    return exit;
  }

 private:
  Engine engine_;
  std::map<std::string, NodeState> nodes_;
  std::map<std::string, SessionId> sessions_;
  std::map<std::string, std::uint64_t> seqs_;
  std::uint64_t next_session_ = 0;
  int requests_ = 0;
};

}  // namespace steadyrun
