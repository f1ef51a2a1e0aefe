#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "server/rpc/credentials.h"
#include "server/web/http_server.h"

namespace steadyrun {

// Browsers that showed a token and hold a cookie instead, since EventSource
// cannot send a header. The cookie is a random name of an entry here, not the
// token; a restart of the server ends all. Thread-safe.
class LoginSessions {
 public:
  static constexpr Duration kLife = std::chrono::hours(12);
  // Beyond it the oldest goes: people log in again.
  static constexpr std::size_t kMaxSessions = 1024;
  static constexpr std::string_view kCookie = "steadyrun_session";

  // `clock` outlives this.
  explicit LoginSessions(const Clock* clock) : clock_(clock) {}

  // The value of Set-Cookie. `is_secure`: over TLS only.
  std::string Open(const Principal& who, bool is_secure);
  // The value of Set-Cookie that takes the cookie back.
  std::string Close(const HttpRequest& request);
  // Empty if the request has no valid cookie.
  std::optional<Principal> Find(const HttpRequest& request);

 private:
  struct Session {
    Principal who;
    MonoTime until;
  };
  const Clock* const clock_;
  absl::Mutex mutex_;
  // By SHA-256 of the cookie, so that a look-up tells nothing by its time.
  std::map<std::string, Session> sessions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace steadyrun
