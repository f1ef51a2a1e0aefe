#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "server/engine/effect.h"
#include "server/engine/event.h"
#include "tests/simulation/context.h"
#include "tests/simulation/sim_server.h"

namespace steadyrun::sim {

// The people: launch runs, order things now and then, send requests again
// until they are answered, and sometimes once more after that.
class SimOperator {
 public:
  SimOperator(SimContext& context, SimServer& server);

  void Launch(const RunSpec& spec);
  void Act(const RunId& run, int nodes);  // Something, by chance.
  void Order(const RunId& run, OperatorAction action, const NodeId& node = "",
             Step step = kNoStep);

  std::uint64_t answered() const { return answered_; }
  bool IsIdle() const { return waiting_.empty(); }

 private:
  Step AnyCheckpointOf(const RunId& run);
  void Send(const std::string& request_id);
  void OnReply(const ReplyToOperator& reply);

  SimContext& context_;
  SimServer& server_;
  std::map<std::string, Event> waiting_;  // By request_id.
  std::map<std::uint64_t, std::string> callers_;
  std::uint64_t next_request_ = 1;
  std::uint64_t next_reply_ = 1;
  std::uint64_t answered_ = 0;
};

}  // namespace steadyrun::sim
