#pragma once

// Durable values as bytes of proto/steadyrun/v1/storage.proto. Every field
// makes the round trip; monotonic times are saved relative to `now` and
// re-based to the `now` of the reading process.
// Decode: DATA_LOSS when the bytes or a name in them are not understood.

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/engine/effect.h"
#include "server/model/checkpoint.h"
#include "server/model/incident.h"
#include "server/model/records.h"
#include "server/model/run_state.h"

namespace steadyrun {

std::string EncodeRunState(const RunState& state, MonoTime now);
absl::StatusOr<RunState> DecodeRunState(std::string_view bytes, MonoTime now);

std::string EncodeIncident(const Incident& incident);
absl::StatusOr<Incident> DecodeIncident(std::string_view bytes);

std::string EncodeCheckpoint(const Checkpoint& checkpoint);
absl::StatusOr<Checkpoint> DecodeCheckpoint(std::string_view bytes);

std::string EncodeNode(const NodeRecord& node);
absl::StatusOr<NodeRecord> DecodeNode(std::string_view bytes);

std::string EncodeRankFailure(const RankFailed& failure);
absl::StatusOr<RankFailed> DecodeRankFailure(std::string_view bytes);

}  // namespace steadyrun
