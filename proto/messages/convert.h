#pragma once

// Between protobuf and plain values, the only place that knows both. Strict
// where it reads: sizes, ranges and names are checked here, so that pure code
// never sees a malformed message. INVALID_ARGUMENT names the field.

#include "absl/status/statusor.h"
#include "proto/messages/messages.h"
#include "steadyrun/v1/agent.pb.h"
#include "steadyrun/v1/model.pb.h"

namespace steadyrun {

// Limits on what a peer may send.
inline constexpr std::size_t kMaxRanksPerBlock = 1 << 14;
inline constexpr std::size_t kMaxMetricsPerBlock = 96;
inline constexpr std::size_t kMaxRunsPerNode = 64;
inline constexpr std::size_t kMaxRanksPerNode = 4096;
inline constexpr std::size_t kMaxTextBytes = 16 << 10;

absl::StatusOr<NodeState> FromProto(const v1::NodeState& proto);
absl::StatusOr<Report> FromProto(const v1::Report& proto);
absl::StatusOr<Hello> FromProto(const v1::Hello& proto);
absl::StatusOr<Welcome> FromProto(const v1::Welcome& proto);
absl::StatusOr<Command> FromProto(const v1::Command& proto);

void ToProto(const NodeState& value, v1::NodeState* proto);
void ToProto(const Report& value, v1::Report* proto);
void ToProto(const Hello& value, v1::Hello* proto);
void ToProto(const Welcome& value, v1::Welcome* proto);
void ToProto(const Command& value, v1::Command* proto);
void ToProto(const CheckpointShard& value, v1::CheckpointShard* proto);
absl::StatusOr<CheckpointShard> FromProto(const v1::CheckpointShard& proto);

// [A-Za-z0-9._-]{1,64}, and not "." or "..": safe in file names.
bool IsValidName(std::string_view name);

// `text` cut to `most` bytes, with '?' for each byte that is no UTF-8: what a
// protobuf string field must hold, or its receiver refuses the whole message.
std::string CleanText(std::string_view text, std::size_t most = kMaxTextBytes);

}  // namespace steadyrun
