#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "google/protobuf/message.h"
#include "server/rpc/operator_api.h"
#include "server/web/http_server.h"

namespace steadyrun {

// OperatorService's methods as unary JSON in the manner of Connect.

// proto3 JSON with the field names of the .proto and all fields present.
std::string ToJson(const google::protobuf::Message& message);
// {"code":"not_found","message":"..."} with Connect's HTTP status.
HttpResponse ErrorResponse(const absl::Status& status);
HttpResponse JsonResponse(const google::protobuf::Message& message);

// The role a method asks for; NOT_FOUND if there is no such method.
absl::StatusOr<Role> RoleOfMethod(std::string_view method);

// Carries out `method` with a JSON body. Requires: RoleOfMethod is OK and
// `who` has that role. `respond` is called once, on any thread.
void CallMethod(OperatorApi* api, const Principal& who, std::string_view method,
                const std::string& body, const HttpFrontend::Respond& respond);

}  // namespace steadyrun
