#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/effect.h"

namespace steadyrun {

// Requests that were carried out, with the reply given, so that one sent again
// (a lost answer, an impatient person) is answered alike and not carried out
// twice. Refused ones are not kept: they changed nothing.
class RequestBook {
 public:
  // The oldest fall out past this; the store keeps them for days.
  static constexpr std::size_t kMaxRequests = 100'000;

  explicit RequestBook(
      const std::vector<std::pair<std::string, std::string>>& done);

  // The reply given before, marked as a duplicate; none: it is new.
  std::optional<ReplyToOperator> Find(const std::string& request_id) const;
  // Requires: the reply is OK. What to store.
  RequestDone Add(const std::string& request_id, const ReplyToOperator& reply);

 private:
  void Insert(std::string request_id, std::string reply);

  std::map<std::string, std::string> replies_;
  std::deque<std::string> order_;
};

}  // namespace steadyrun
