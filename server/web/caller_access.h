#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/rpc/credentials.h"
#include "server/rpc/wrong_token_limit.h"
#include "server/web/http_server.h"
#include "server/web/login_sessions.h"

namespace steadyrun {

// Who calls, and how a browser logs in and out. Thread-safe.
class CallerAccess {
 public:
  // `is_secure`: cookies are for TLS only. The pointers outlive this.
  CallerAccess(const TokenSet* tokens, const Clock* clock, bool is_secure)
      : tokens_(tokens),
        clock_(clock),
        sessions_(clock),
        is_secure_(is_secure) {}

  // A token in the header, or the cookie that a browser got for one.
  // UNAUTHENTICATED without either, PERMISSION_DENIED if it is not `needed`,
  // RESOURCE_EXHAUSTED after too many wrong tokens (WrongTokenLimit).
  absl::StatusOr<Principal> Authorize(const HttpRequest& request, Role needed);
  // A token in the header and nothing else: for programs.
  absl::StatusOr<Principal> AuthorizeToken(const HttpRequest& request,
                                           Role needed);

  // {"token": "..."} becomes a cookie.
  absl::StatusOr<HttpResponse> LogIn(const HttpRequest& request);
  absl::StatusOr<HttpResponse> LogOut(const HttpRequest& request);
  // What the page shows of who has logged in.
  HttpResponse Session(const Principal& who) const;

  WrongTokenLimit::Counts WrongTokens() const;

 private:
  absl::StatusOr<Principal> CheckToken(const HttpRequest& request,
                                       std::string_view token, Role needed);

  const TokenSet* const tokens_;
  const Clock* const clock_;
  WrongTokenLimit wrong_tokens_;
  LoginSessions sessions_;
  const bool is_secure_;
};

}  // namespace steadyrun
