#pragma once

#include <memory>

#include "server/rpc/credentials.h"
#include "server/rpc/operator_api.h"

namespace grpc {
class Service;
}

namespace steadyrun {

class EventWatch;

// OperatorService over gRPC: checks the token, calls the api, converts the
// status. All outlive the service; without `watch` events are not followed.
std::unique_ptr<grpc::Service> MakeOperatorService(OperatorApi* api,
                                                   const TokenSet* tokens,
                                                   EventWatch* watch = nullptr);

}  // namespace steadyrun
