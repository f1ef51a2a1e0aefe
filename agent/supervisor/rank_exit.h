#pragma once

#include <string>

#include "agent/supervisor/tracked_rank.h"
#include "proto/messages/messages.h"

namespace steadyrun::agent {

// Why the start of the rank failed; empty if it did not.
std::string DescribeStartFailure(const IdentityRecord& identity,
                                 const std::string& program,
                                 const std::string& working_directory);

// How the rank ended, from the shim's record; from the shim's own exit code
// where the record is missing; SIGKILL where the shim was killed itself.
ExitStatus ReadRankExit(const TrackedRank& rank, bool* was_ordered);

// Everything that is left of a rank which is gone: status, the last step and
// phase of its flight recorder, and the evidence in its output.
RankExited MakeRankExited(const TrackedRank& rank, WallTime now);

}  // namespace steadyrun::agent
