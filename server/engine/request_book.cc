#include "server/engine/request_book.h"

#include <fmt/format.h>

#include <cstdlib>
#include <string_view>

namespace steadyrun {
namespace {

// attempt TAB step TAB run TAB message; run names hold no tab.
std::string Encode(const ReplyToOperator& reply) {
  return fmt::format("{}\t{}\t{}\t{}", reply.attempt.value, reply.step.value,
                     reply.run, reply.message);
}

std::string_view TakeField(std::string_view* text) {
  const std::size_t tab = text->find('\t');
  const std::string_view field = text->substr(0, tab);
  text->remove_prefix(tab == std::string_view::npos ? text->size() : tab + 1);
  return field;
}

std::int64_t ToInteger(std::string_view text) {
  return std::strtoll(std::string(text).c_str(), nullptr, 10);
}

ReplyToOperator Decode(std::string_view text) {
  ReplyToOperator reply;
  reply.attempt = AttemptId{ToInteger(TakeField(&text))};
  reply.step = Step{ToInteger(TakeField(&text))};
  reply.run = std::string(TakeField(&text));
  reply.message = std::string(text);
  reply.is_duplicate = true;
  return reply;
}

}  // namespace

RequestBook::RequestBook(
    const std::vector<std::pair<std::string, std::string>>& done) {
  for (const auto& [request_id, reply] : done) Insert(request_id, reply);
}

void RequestBook::Insert(std::string request_id, std::string reply) {
  auto [it, is_new] = replies_.try_emplace(request_id, std::move(reply));
  if (!is_new) return;
  order_.push_back(std::move(request_id));
  if (order_.size() > kMaxRequests) {
    replies_.erase(order_.front());
    order_.pop_front();
  }
}

std::optional<ReplyToOperator> RequestBook::Find(
    const std::string& request_id) const {
  if (request_id.empty()) return std::nullopt;
  auto it = replies_.find(request_id);
  if (it == replies_.end()) return std::nullopt;
  return Decode(it->second);
}

RequestDone RequestBook::Add(const std::string& request_id,
                             const ReplyToOperator& reply) {
  std::string encoded = Encode(reply);
  if (!request_id.empty()) Insert(request_id, encoded);
  return {request_id, std::move(encoded)};
}

}  // namespace steadyrun
