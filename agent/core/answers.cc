#include "agent/core/answers.h"

#include <algorithm>
#include <chrono>

namespace steadyrun::agent {
namespace {

constexpr Duration kRepeatAfter = std::chrono::seconds(1);

}  // namespace

const Answers::Entry* Answers::Find(const std::string& command_id) const {
  const auto it =
      std::ranges::find_if(entries_, [&command_id](const Entry& entry) {
        return entry.result.command_id == command_id;
      });
  return it == entries_.end() ? nullptr : &*it;
}

bool Answers::IsWorthReporting(const std::string& command_id,
                               CommandOutcome outcome, ReportSeq acked,
                               MonoTime now) const {
  const Entry* entry = Find(command_id);
  if (entry == nullptr || entry->result.outcome != outcome) return true;
  return entry->seq <= acked && now - entry->at >= kRepeatAfter;
}

void Answers::Remember(const CommandResult& result, ReportSeq seq,
                       MonoTime now) {
  std::erase_if(entries_, [&result](const Entry& entry) {
    return entry.result.command_id == result.command_id;
  });
  if (entries_.size() >= kMaxRemembered) entries_.pop_front();
  entries_.push_back({result, seq, now});
}

const CommandResult* Answers::Final(const std::string& command_id) const {
  const Entry* entry = Find(command_id);
  if (entry == nullptr) return nullptr;
  const CommandOutcome outcome = entry->result.outcome;
  const bool is_final =
      outcome == CommandOutcome::kDone || outcome == CommandOutcome::kMissed;
  return is_final ? &entry->result : nullptr;
}

}  // namespace steadyrun::agent
