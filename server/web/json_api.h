#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/rpc/operator_api.h"
#include "server/web/http_server.h"

namespace steadyrun {

// OperatorService's methods as unary JSON in the manner of Connect.

// The role a method asks for; NOT_FOUND if there is no such method.
absl::StatusOr<Role> RoleOfMethod(std::string_view method);

// It may take seconds: not for a thread that others wait for.
bool IsSlowMethod(std::string_view method);

// Carries out `method` with a JSON body. Requires: RoleOfMethod is OK and
// `who` has that role. `respond` is called once, on any thread.
void CallMethod(OperatorApi* api, const Principal& who, std::string_view method,
                const std::string& body, const HttpFrontend::Respond& respond);

}  // namespace steadyrun
