#pragma once

// The machine's answers to single triggers; recovery_machine.cc dispatches to
// them. Not for others.

#include "server/recovery/recovery_machine.h"

namespace steadyrun {

// failure_response.cc
Advanced RespondToFailure(RunState* state, const FailureFound& found,
                          const RecoveryContext& context, Now now);
Advanced RespondToFailedCheck(RunState* state, const ShardCheckFailed& failed,
                              Now now);

// operator_orders.cc
Advanced ObeyOperator(RunState* state, const OperatorOrdered& ordered,
                      const RecoveryContext& context, Now now);

}  // namespace steadyrun
