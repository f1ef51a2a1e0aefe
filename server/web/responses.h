#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "base/clock.h"
#include "google/protobuf/message.h"
#include "server/web/http_server.h"

namespace steadyrun {

HttpResponse TextResponse(int status, std::string text);
HttpResponse JsonTextResponse(std::string json);

// proto3 JSON with the field names of the .proto and all fields present.
std::string ToJson(const google::protobuf::Message& message);
HttpResponse JsonResponse(const google::protobuf::Message& message);

// {"code":"not_found","message":"..."} with Connect's HTTP status.
HttpResponse ErrorResponse(const absl::Status& status);
// The same error, with a Retry-After of whole seconds when it is answered;
// without, UNAVAILABLE and RESOURCE_EXHAUSTED say one second.
absl::Status TryAgainAfter(Duration wait, absl::Status status);
// 405: only `allowed` ("GET, HEAD") are served here, as `message` says.
HttpResponse MethodNotAllowed(std::string_view allowed,
                              std::string_view message);

}  // namespace steadyrun
