#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "base/clock.h"
#include "proto/messages/messages.h"
#include "steadyrun/v1/agent.pb.h"

namespace steadyrun {

// What waits to be written to one agent. Not thread-safe, no I/O.
//
// Acknowledgements are coalesced: a write costs about as much as a read, so
// an ack leaves when something else is written anyway, when some reports have
// gathered, or when the last one is kAckInterval ago. Until then the agent
// keeps the reports in its spool, which costs it nothing; the few keep a peer
// that sends only so many unacknowledged ones from waiting.
class OutgoingQueue {
 public:
  static constexpr Duration kAckInterval = std::chrono::seconds(5);
  static constexpr std::uint64_t kAckReports = 4;
  // The engine derives commands again each second, so a full queue only says
  // that this peer does not read.
  static constexpr std::size_t kMaxCommands = 256;
  // Of one message; a single larger command goes alone.
  static constexpr std::size_t kMaxMessageBytes = 256 << 10;

  void Add(Welcome welcome);
  // Replaces a waiting command of the same id. False if the queue is full.
  [[nodiscard]] bool Add(Command command);
  void Ack(ReportSeq seq);

  bool IsDue(MonoTime now) const;
  // Fills `message`, which is cleared first. Requires: IsDue(now).
  void Take(MonoTime now, v1::ServerMessage* message);

 private:
  std::optional<Welcome> welcome_;
  std::deque<Command> commands_;
  ReportSeq ack_;
  ReportSeq acked_;
  std::optional<MonoTime> acked_at_;
};

}  // namespace steadyrun
