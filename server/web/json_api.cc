#include "server/web/json_api.h"

#include <google/protobuf/util/json_util.h>

#include <map>

#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

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

absl::Status Parse(const std::string& body, google::protobuf::Message* out) {
  const auto status = google::protobuf::util::JsonStringToMessage(
      body.empty() ? "{}" : body, out);
  if (status.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("the body is no JSON of {}: {}",
                                                out->GetTypeName(),
                                                std::string(status.message())));
}

struct Method {
  Role role;
  std::function<void(OperatorApi*, const Principal&, const std::string&,
                     const HttpFrontend::Respond&)>
      call;
};

template <typename Request, typename Reply>
Method Query(absl::Status (OperatorApi::*method)(const Request&, Reply*)
                 const) {
  return {Role::kViewer,
          [method](OperatorApi* api, const Principal&, const std::string& body,
                   const HttpFrontend::Respond& respond) {
            Request request;
            Reply reply;
            absl::Status status = Parse(body, &request);
            if (status.ok()) status = (api->*method)(request, &reply);
            respond(status.ok() ? JsonResponse(reply) : ErrorResponse(status));
          }};
}

template <typename Request>
Method Action(void (OperatorApi::*method)(const Principal&, const Request&,
                                          OperatorApi::Done)) {
  return {Role::kOperator, [method](OperatorApi* api, const Principal& who,
                                    const std::string& body,
                                    const HttpFrontend::Respond& respond) {
            Request request;
            if (auto status = Parse(body, &request); !status.ok()) {
              return respond(ErrorResponse(status));
            }
            (api->*method)(
                who, request, [respond](absl::StatusOr<v1::ActionReply> reply) {
                  respond(reply.ok() ? JsonResponse(*reply)
                                     : ErrorResponse(reply.status()));
                });
          }};
}

const std::map<std::string_view, Method>& Methods() {
  static const auto* const methods = new std::map<std::string_view, Method>{
      {"Launch", Action(&OperatorApi::Launch)},
      {"Act", Action(&OperatorApi::Act)},
      {"ListRuns", Query(&OperatorApi::ListRuns)},
      {"GetRun", Query(&OperatorApi::GetRun)},
      {"ListIncidents", Query(&OperatorApi::ListIncidents)},
      {"GetIncident", Query(&OperatorApi::GetIncident)},
      {"ListNodes", Query(&OperatorApi::ListNodes)},
      {"ListCheckpoints", Query(&OperatorApi::ListCheckpoints)},
      {"GetReport", Query(&OperatorApi::GetReport)},
      {"GetSteps", Query(&OperatorApi::GetSteps)},
      {"ListAudit", Query(&OperatorApi::ListAudit)},
      {"ListEvents", Query(&OperatorApi::ListEvents)},
      {"Backtest", Query(&OperatorApi::Backtest)},
      {"GetServerInfo", Query(&OperatorApi::GetServerInfo)},
      {"PlanAction", Query(&OperatorApi::PlanAction)},
      {"GetIncidentStory", Query(&OperatorApi::GetIncidentStory)},
      {"GetPolicy", Query(&OperatorApi::GetPolicy)},
      {"GetRankHeatmap", Query(&OperatorApi::GetRankHeatmap)},
      {"GetRankSeries", Query(&OperatorApi::GetRankSeries)},
      {"ListMetrics", Query(&OperatorApi::ListMetrics)},
      {"GetMetricSeries", Query(&OperatorApi::GetMetricSeries)},
  };
  return *methods;
}

}  // namespace

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
    response.headers["retry-after"] = "1";
  }
  return response;
}

HttpResponse JsonResponse(const google::protobuf::Message& message) {
  HttpResponse response;
  response.content_type = "application/json";
  response.body = ToJson(message) + "\n";
  return response;
}

absl::StatusOr<Role> RoleOfMethod(std::string_view method) {
  const auto it = Methods().find(method);
  if (it != Methods().end()) return it->second.role;
  return absl::NotFoundError(
      "steadyrun.v1.OperatorService has no such method; see operator.proto");
}

void CallMethod(OperatorApi* api, const Principal& who, std::string_view method,
                const std::string& body, const HttpFrontend::Respond& respond) {
  Methods().at(method).call(api, who, body, respond);
}

}  // namespace steadyrun
