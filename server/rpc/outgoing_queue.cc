#include "server/rpc/outgoing_queue.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "proto/messages/convert.h"

namespace steadyrun {

void OutgoingQueue::Add(Welcome welcome) { welcome_ = std::move(welcome); }

bool OutgoingQueue::Add(Command command) {
  const auto same = std::find_if(
      commands_.begin(), commands_.end(), [&](const Command& waiting) {
        return waiting.command_id == command.command_id;
      });
  if (same != commands_.end()) {
    *same = std::move(command);
    return true;
  }
  if (commands_.size() >= kMaxCommands) return false;
  commands_.push_back(std::move(command));
  return true;
}

void OutgoingQueue::Ack(ReportSeq seq) { ack_ = std::max(ack_, seq); }

bool OutgoingQueue::IsDue(MonoTime now) const {
  if (welcome_.has_value() || !commands_.empty()) return true;
  if (ack_ <= acked_) return false;
  return !acked_at_.has_value() || now - *acked_at_ >= kAckInterval ||
         ack_.value - acked_.value >= kAckReports;
}

void OutgoingQueue::Take(MonoTime now, v1::ServerMessage* message) {
  SR_CHECK(IsDue(now));
  message->Clear();
  if (welcome_.has_value()) {
    ToProto(*welcome_, message->mutable_welcome());
    welcome_.reset();
  }
  if (ack_ > acked_) {
    message->set_ack_seq(ack_.value);
    acked_ = ack_;
    acked_at_ = now;
  }
  std::size_t bytes = 0;
  while (!commands_.empty() && bytes < kMaxMessageBytes) {
    v1::Command* proto = message->add_commands();
    ToProto(commands_.front(), proto);
    bytes += proto->ByteSizeLong();
    if (bytes > kMaxMessageBytes && message->commands_size() > 1) {
      message->mutable_commands()->RemoveLast();
      break;
    }
    commands_.pop_front();
  }
}

}  // namespace steadyrun
