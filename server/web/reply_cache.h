#pragma once

#include <list>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/clock.h"
#include "server/web/http_server.h"

namespace steadyrun {

// Answers that many viewers of one run ask for at once: made once for all of
// them. An answer is at most kLife old. Not thread-safe: the HTTP server's
// worker thread only.
class ReplyCache {
 public:
  // People do not see a second; four hundred pages that read as often as they
  // may cost what one does.
  static constexpr Duration kLife = std::chrono::seconds(1);
  static constexpr std::size_t kMaxBytes = 16 << 20;

  // Null if there is none, or it is too old.
  const HttpResponse* Find(const HttpRequest& request, MonoTime now);
  // Whoever is larger than the whole cache is not kept.
  void Put(const HttpRequest& request, const HttpResponse& response,
           MonoTime now);

  std::size_t Bytes() const { return bytes_; }

 private:
  struct Entry {
    std::string key;
    HttpResponse response;
    MonoTime made;
  };
  static std::string KeyOf(const HttpRequest& request);
  void DropOldest();

  std::list<Entry> entries_;  // Oldest first.
  std::unordered_map<std::string, std::list<Entry>::iterator> by_key_;
  std::size_t bytes_ = 0;
};

}  // namespace steadyrun
