#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "proto/messages/messages.h"
#include "server/detect/node_hearing.h"
#include "server/engine/report_acks.h"
#include "server/model/records.h"

namespace steadyrun {

// One node, known since its first Hello and for ever after (a cluster has at
// most kMaxNodes names; more are refused at the Hello).
struct NodeEntry {
  NodeRecord record;
  NodeState state;  // Of the newest heartbeat.
  bool has_state = false;
  SessionId session;  // Live stream; 0: none.
  ReportAcks acks;
  ReportSeq acked;             // Told and stored.
  bool is_ack_due = false;     // Listed in Sessions::TakeAckDue.
  bool is_record_due = false;  // Listed in Sessions::TakeRecordDue.

  bool IsConnected() const { return session != SessionId{}; }
};
inline constexpr std::size_t kMaxNodes = 100'000;

// The nodes and their streams. A node has at most one live session: a newer
// stream takes the place of an older one, whose messages then count no more.
class Sessions {
 public:
  Sessions(const std::vector<NodeRecord>& records,
           const std::vector<NodeCursor>& cursors, Now now);

  struct Opened {
    NodeEntry* node = nullptr;  // Null: refused, too many nodes.
    std::optional<SessionId> replaced;
    bool is_new_life = false;  // Its boot_id was not the one known.
  };
  Opened Open(SessionId session, NodeState state, Now now);
  // The node whose live session ended; null if it was replaced before.
  NodeEntry* Close(SessionId session, Now now);
  // The node of a live session; null for one that is replaced or closed.
  NodeEntry* Find(SessionId session);
  // A heartbeat on a live session.
  NodeEntry* Observe(SessionId session, NodeState state, Now now);

  // A report that a rank is gone is ahead of the next heartbeat, and as sure.
  static void NoteExit(NodeEntry* node, const RankExited& exit);

  NodeEntry* FindNode(const NodeId& node);
  const NodeEntry* FindNode(const NodeId& node) const;
  std::map<NodeId, NodeEntry>& Nodes() { return nodes_; }
  const std::map<NodeId, NodeEntry>& Nodes() const { return nodes_; }
  std::size_t Count() const { return by_session_.size(); }

  NodeHearing& Hearing() { return hearing_; }
  const NodeHearing& Hearing() const { return hearing_; }

  // A held report is applied: an ack of its node may be due.
  void Release(const HeldReport& held);
  void NoteAckDue(NodeEntry* node);
  // The record differs from the stored one.
  void NoteRecordDue(NodeEntry* node);
  std::vector<NodeEntry*> TakeRecordDue();  // By name.
  // Nodes whose applied reports may have passed the acked ones, by name.
  std::vector<NodeEntry*> TakeAckDue();

 private:
  std::map<NodeId, NodeEntry> nodes_;
  std::map<SessionId, NodeEntry*> by_session_;
  std::vector<NodeEntry*> ack_due_;
  std::vector<NodeEntry*> record_due_;
  NodeHearing hearing_;
};

}  // namespace steadyrun
