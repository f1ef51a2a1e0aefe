#include "server/web/responses.h"

#include <google/protobuf/util/json_util.h>

#include <utility>

#include "absl/strings/cord.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

// Of a status: the text of the header.
constexpr char kRetryAfter[] = "steadyrun/retry-after";

struct CodeName {
  std::string_view name;
  int http;
};

// As in the Connect protocol.
CodeName NameOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return {"ok", 200};
    case absl::StatusCode::kCancelled:
      return {"canceled", 499};
    case absl::StatusCode::kUnknown:
      return {"unknown", 500};
    case absl::StatusCode::kInvalidArgument:
      return {"invalid_argument", 400};
    case absl::StatusCode::kDeadlineExceeded:
      return {"deadline_exceeded", 504};
    case absl::StatusCode::kNotFound:
      return {"not_found", 404};
    case absl::StatusCode::kAlreadyExists:
      return {"already_exists", 409};
    case absl::StatusCode::kPermissionDenied:
      return {"permission_denied", 403};
    case absl::StatusCode::kResourceExhausted:
      return {"resource_exhausted", 429};
    case absl::StatusCode::kFailedPrecondition:
      return {"failed_precondition", 400};
    case absl::StatusCode::kAborted:
      return {"aborted", 409};
    case absl::StatusCode::kOutOfRange:
      return {"out_of_range", 400};
    case absl::StatusCode::kUnimplemented:
      return {"unimplemented", 501};
    case absl::StatusCode::kInternal:
      return {"internal", 500};
    case absl::StatusCode::kUnavailable:
      return {"unavailable", 503};
    case absl::StatusCode::kDataLoss:
      return {"data_loss", 500};
    case absl::StatusCode::kUnauthenticated:
      return {"unauthenticated", 401};
    default:
      return {"unknown", 500};
  }
}

std::string JsonString(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20 || byte == 0x7f || c == '<' || c == '>') {
      quoted += fmt::format("\\u{:04x}", byte);
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

}  // namespace

HttpResponse TextResponse(int status, std::string text) {
  HttpResponse response;
  response.status = status;
  response.body = std::move(text);
  return response;
}

HttpResponse JsonTextResponse(std::string json) {
  HttpResponse response;
  response.content_type = "application/json";
  response.body = std::move(json);
  return response;
}

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status =
      google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) return "{}";
  return json;
}

HttpResponse JsonResponse(const google::protobuf::Message& message) {
  return JsonTextResponse(ToJson(message) + "\n");
}

HttpResponse ErrorResponse(const absl::Status& status) {
  const CodeName code = NameOf(status.code());
  HttpResponse response;
  response.status = code.http;
  response.content_type = "application/json";
  response.body = fmt::format("{{\"code\":\"{}\",\"message\":{}}}\n", code.name,
                              JsonString(std::string(status.message())));
  if (code.http == 401) {
    response.headers["www-authenticate"] = "Bearer";
  }
  if (code.http == 503 || code.http == 429) {
    response.headers["retry-after"] =
        std::string(status.GetPayload(kRetryAfter).value_or(absl::Cord("1")));
  }
  return response;
}

absl::Status TryAgainAfter(Duration wait, absl::Status status) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(wait).count();
  status.SetPayload(kRetryAfter, absl::Cord(std::to_string(seconds)));
  return status;
}

HttpResponse MethodNotAllowed(std::string_view allowed,
                              std::string_view message) {
  HttpResponse refused =
      ErrorResponse(absl::UnimplementedError(std::string(message)));
  refused.status = 405;
  refused.headers["allow"] = std::string(allowed);
  return refused;
}

}  // namespace steadyrun
