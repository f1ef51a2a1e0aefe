#include "server/web/json_api.h"

#include <google/protobuf/util/json_util.h>

#include <map>

#include "server/web/responses.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

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

absl::StatusOr<Role> RoleOfMethod(std::string_view method) {
  const auto it = Methods().find(method);
  if (it != Methods().end()) return it->second.role;
  return absl::NotFoundError(
      "steadyrun.v1.OperatorService has no such method; see operator.proto");
}

// It reads and replays the history of a run.
bool IsSlowMethod(std::string_view method) { return method == "Backtest"; }

void CallMethod(OperatorApi* api, const Principal& who, std::string_view method,
                const std::string& body, const HttpFrontend::Respond& respond) {
  Methods().at(method).call(api, who, body, respond);
}

}  // namespace steadyrun
