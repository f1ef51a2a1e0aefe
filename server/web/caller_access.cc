#include "server/web/caller_access.h"

#include <nlohmann/json.hpp>
#include <string>

#include "base/status_macros.h"
#include "proto/messages/checks.h"
#include "server/web/request_guard.h"
#include "server/web/responses.h"

namespace steadyrun {

absl::StatusOr<Principal> CallerAccess::Authorize(const HttpRequest& request,
                                                  Role needed) {
  if (request.Header("authorization").empty() && tokens_->IsRequired()) {
    if (const auto who = sessions_.Find(request)) {
      RETURN_IF_ERROR(CheckRole(*who, needed));
      return *who;
    }
  }
  return AuthorizeToken(request, needed);
}

absl::StatusOr<Principal> CallerAccess::AuthorizeToken(
    const HttpRequest& request, Role needed) {
  return tokens_->CheckHeader(request.Header("authorization"), needed);
}

absl::StatusOr<HttpResponse> CallerAccess::LogIn(const HttpRequest& request) {
  RETURN_IF_ERROR(CheckAction(request));
  const auto body = nlohmann::json::parse(request.body, nullptr, false);
  if (!body.is_object() || !body.contains("token") ||
      !body["token"].is_string()) {
    return checks::Bad("body", "something else", "{\"token\": \"...\"}");
  }
  ASSIGN_OR_RETURN(
      const Principal who,
      tokens_->CheckToken(body["token"].get<std::string>(), Role::kViewer));
  HttpResponse response = Session(who);
  response.headers["set-cookie"] = sessions_.Open(who, is_secure_);
  return response;
}

absl::StatusOr<HttpResponse> CallerAccess::LogOut(const HttpRequest& request) {
  RETURN_IF_ERROR(CheckAction(request));
  HttpResponse response = JsonTextResponse("{}\n");
  response.headers["set-cookie"] = sessions_.Close(request);
  return response;
}

HttpResponse CallerAccess::Session(const Principal& who) const {
  // Without tokens everybody may do everything.
  const Role role = tokens_->IsRequired() ? who.role : Role::kOperator;
  const nlohmann::json session = {{"role", std::string(RoleName(role))},
                                  {"name", who.name},
                                  {"tokens_required", tokens_->IsRequired()}};
  return JsonTextResponse(session.dump() + "\n");
}

}  // namespace steadyrun
