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
  const std::string_view header = request.Header("authorization");
  const auto token = BearerToken(header);
  if (!token.has_value()) return tokens_->CheckHeader(header, needed);
  return CheckToken(request, *token, needed);
}

absl::StatusOr<Principal> CallerAccess::CheckToken(const HttpRequest& request,
                                                   std::string_view token,
                                                   Role needed) {
  if (!tokens_->IsRequired()) return tokens_->CheckToken(token, needed);
  const MonoTime now = clock_->MonoNow();
  const Duration wait = wrong_tokens_.WaitOf(request.peer, token, now);
  if (wait > Duration::zero()) {
    wrong_tokens_.NoteRefused();
    return TryAgainAfter(
        wait, absl::ResourceExhaustedError(
                  "too many wrong tokens came from this address: no token of "
                  "it is looked at for a moment"));
  }
  auto who = tokens_->CheckToken(token, needed);
  if (absl::IsUnauthenticated(who.status())) {
    wrong_tokens_.NoteWrong(request.peer, token, now);
  }
  return who;
}

WrongTokenLimit::Counts CallerAccess::WrongTokens() const {
  return wrong_tokens_.CountsAt(clock_->MonoNow());
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
      CheckToken(request, body["token"].get<std::string>(), Role::kViewer));
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
