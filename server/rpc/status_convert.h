#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace steadyrun {

// The codes have equal numbers in both; gRPC 1.51 ships no conversion.
grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace steadyrun
