#pragma once

#include <cstddef>
#include <deque>
#include <set>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "proto/messages/messages.h"

namespace steadyrun::agent {

// The last answers to commands. The server sends a command again until it sees
// its effect; the same answer is not reported again while the first is still
// in the spool, and never more often than once a second.
class Answers {
 public:
  // Of the last so many commands. A node has a few open ones at a time.
  static constexpr std::size_t kMaxRemembered = 128;

  // Whether an answer of this outcome should be reported now.
  bool IsWorthReporting(const std::string& command_id, CommandOutcome outcome,
                        ReportSeq acked, MonoTime now) const;
  void Remember(const CommandResult& result, ReportSeq seq, MonoTime now);

  // The final answer to this very command, to be repeated; null if there is
  // none. Failures and refusals are not final: what caused them may pass.
  const CommandResult* Final(const std::string& command_id) const;

  // Commands being carried out by an adapter (Save, Verify).
  bool Begin(const std::string& command_id) {
    return pending_.insert(command_id).second;
  }
  bool End(const std::string& command_id) {
    return pending_.erase(command_id) > 0;
  }
  bool IsPending(const std::string& command_id) const {
    return pending_.contains(command_id);
  }
  std::size_t Pending() const { return pending_.size(); }

 private:
  struct Entry {
    CommandResult result;
    ReportSeq seq;
    MonoTime at;
  };
  const Entry* Find(const std::string& command_id) const;

  std::deque<Entry> entries_;  // Oldest first.
  std::set<std::string> pending_;
};

}  // namespace steadyrun::agent
