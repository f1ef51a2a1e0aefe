#pragma once

#include <memory>

#include "server/rpc/credentials.h"
#include "server/rpc/operator_api.h"

namespace grpc {
class Service;
}

namespace steadyrun {

// OperatorService over gRPC: checks the token, calls the api, converts the
// status. `api` and `tokens` outlive the service.
std::unique_ptr<grpc::Service> MakeOperatorService(OperatorApi* api,
                                                   const TokenSet* tokens);

}  // namespace steadyrun
