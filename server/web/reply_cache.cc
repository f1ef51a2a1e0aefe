#include "server/web/reply_cache.h"

namespace steadyrun {

std::string ReplyCache::KeyOf(const HttpRequest& request) {
  std::string key = request.path;
  for (const auto& [name, value] : request.query) {
    key += '\n' + name + '\n' + value;
  }
  return key;
}

const HttpResponse* ReplyCache::Find(const HttpRequest& request, MonoTime now) {
  while (!entries_.empty() && entries_.front().made + kLife <= now) {
    DropOldest();
  }
  const auto it = by_key_.find(KeyOf(request));
  return it == by_key_.end() ? nullptr : &it->second->response;
}

void ReplyCache::Put(const HttpRequest& request, const HttpResponse& response,
                     MonoTime now) {
  std::string key = KeyOf(request);
  const std::size_t size = key.size() + response.body.size();
  if (size > kMaxBytes || by_key_.count(key) != 0) return;
  while (bytes_ + size > kMaxBytes) DropOldest();
  bytes_ += size;
  entries_.push_back({std::move(key), response, now});
  by_key_.emplace(entries_.back().key, std::prev(entries_.end()));
}

void ReplyCache::DropOldest() {
  const Entry& oldest = entries_.front();
  bytes_ -= oldest.key.size() + oldest.response.body.size();
  by_key_.erase(oldest.key);
  entries_.pop_front();
}

}  // namespace steadyrun
