#include "server/web/login_sessions.h"

#include <algorithm>

#include "base/digest.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

// The cookie's value in "a=b; steadyrun_session=...; c=d".
std::string_view CookieOf(const HttpRequest& request) {
  std::string_view rest = request.Header("cookie");
  while (!rest.empty()) {
    std::string_view pair = rest.substr(0, rest.find(';'));
    rest.remove_prefix(std::min(pair.size() + 1, rest.size()));
    while (!pair.empty() && pair.front() == ' ') pair.remove_prefix(1);
    const std::size_t equal = pair.find('=');
    if (equal == std::string_view::npos) continue;
    if (pair.substr(0, equal) == LoginSessions::kCookie) {
      return pair.substr(equal + 1);
    }
  }
  return {};
}

}  // namespace

std::string LoginSessions::Open(const Principal& who, bool is_secure) {
  const std::string value =
      RandomHex64() + RandomHex64() + RandomHex64() + RandomHex64();
  const MonoTime now = clock_->MonoNow();
  absl::MutexLock lock(&mutex_);
  for (auto it = sessions_.begin(); it != sessions_.end();) {
    it = it->second.until <= now ? sessions_.erase(it) : std::next(it);
  }
  if (sessions_.size() >= kMaxSessions) {
    sessions_.erase(std::min_element(sessions_.begin(), sessions_.end(),
                                     [](const auto& a, const auto& b) {
                                       return a.second.until < b.second.until;
                                     }));
  }
  sessions_[Sha256Hex(value)] = {who, now + kLife};
  return fmt::format(
      "{}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{}", kCookie, value,
      std::chrono::duration_cast<std::chrono::seconds>(kLife).count(),
      is_secure ? "; Secure" : "");
}

std::string LoginSessions::Close(const HttpRequest& request) {
  const std::string_view value = CookieOf(request);
  absl::MutexLock lock(&mutex_);
  if (!value.empty()) sessions_.erase(Sha256Hex(value));
  return fmt::format("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0",
                     kCookie);
}

std::optional<Principal> LoginSessions::Find(const HttpRequest& request) {
  const std::string_view value = CookieOf(request);
  if (value.empty()) return std::nullopt;
  const std::string key = Sha256Hex(value);
  absl::MutexLock lock(&mutex_);
  const auto it = sessions_.find(key);
  if (it == sessions_.end()) return std::nullopt;
  if (it->second.until <= clock_->MonoNow()) {
    sessions_.erase(it);
    return std::nullopt;
  }
  return it->second.who;
}

}  // namespace steadyrun
