#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "proto/messages/messages.h"
#include "server/model/run_state.h"
#include "server/policy/policy.h"
#include "server/recovery/checkpoint_selector.h"
#include "server/recovery/cluster_view.h"

namespace steadyrun {

// Of a rank's environment, as the training-side libraries read them (a test
// compares with agent/recorder/environment.h): data to leave out as
// "a-b,c-d", and what to multiply the learning rate by.
inline constexpr const char* kSkipVariable = "STEADYRUN_SKIP";
inline constexpr const char* kLearningRateVariable =
    "STEADYRUN_LEARNING_RATE_FACTOR";

// Commands are never queued. What a node must do now follows from the run's
// state and from what the node's newest heartbeat shows as done, so it can be
// derived again after every crash, on every stream, any number of times. Ids
// are functions of what is asked: the same wish is the same command.
struct DerivationContext {
  std::uint64_t server_epoch = 0;
  const Policy& policy;
  const CheckpointMap& checkpoints;
  const std::set<NodeId>& verified;  // As in RecoveryContext.
  const std::set<NodeId>& saved;     // Took the present save word.
  // The run ended long enough ago that nothing more is reported of it.
  bool may_forget = false;
};

// For one connected node, in the order in which they are to be sent. Empty:
// nothing is wanted of it, or all is done.
//   Stop    floor below what the run needs here, or processes below it alive
//   Verify  shards of this node's ranks, before a resume
//   Start   the floor stands, nothing older lives, nothing newer was started
//   Save    the agreed step, to nodes that have not taken the word
//   Forget  the run has ended and left something here
std::vector<Command> DeriveCommands(const RunState& state,
                                    const NodeFacts& facts,
                                    const DerivationContext& context);

// Where the ranks of an attempt save. Its own for each attempt: what is left
// of an older one cannot overwrite.
std::string CheckpointDirectory(const RunSpec& spec, AttemptId attempt);

}  // namespace steadyrun
