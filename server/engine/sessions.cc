#include "server/engine/sessions.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace steadyrun {
namespace {

std::vector<NodeEntry*> TakeByName(std::vector<NodeEntry*>* list) {
  std::vector<NodeEntry*> taken = std::exchange(*list, {});
  std::sort(taken.begin(), taken.end(), [](NodeEntry* a, NodeEntry* b) {
    return a->record.node < b->record.node;
  });
  return taken;
}

// A boot_id is "<kernel's boot>:<state directory>". Report numbers belong to
// the latter.
bool IsSameState(std::string_view one, std::string_view other) {
  const std::size_t a = one.rfind(':');
  const std::size_t b = other.rfind(':');
  return a != std::string_view::npos && b != std::string_view::npos &&
         one.substr(a) == other.substr(b);
}

}  // namespace

Sessions::Sessions(const std::vector<NodeRecord>& records,
                   const std::vector<NodeCursor>& cursors, Now now)
    : hearing_(now.mono) {
  for (const NodeRecord& record : records) {
    nodes_[record.node].record = record;
  }
  for (const NodeCursor& cursor : cursors) {
    NodeEntry& node = nodes_[cursor.node];
    node.record.node = cursor.node;
    // The store keeps those of former lives, too.
    const std::string& present = node.record.boot_id;
    if (!present.empty() && cursor.boot_id != present) continue;
    node.acks.Reset(cursor.boot_id, cursor.acked);
    node.acked = cursor.acked;
  }
}

Sessions::Opened Sessions::Open(SessionId session, NodeState state, Now now) {
  Opened opened;
  auto it = nodes_.find(state.node);
  if (it == nodes_.end()) {
    if (nodes_.size() >= kMaxNodes) return opened;
    it = nodes_.emplace(state.node, NodeEntry{}).first;
    it->second.record.node = state.node;
    NoteRecordDue(&it->second);
  }
  NodeEntry& node = it->second;
  opened.node = &node;
  if (node.IsConnected()) {
    opened.replaced = node.session;
    by_session_.erase(node.session);
  }
  if (node.acks.BootId() != state.boot_id) {
    opened.is_new_life = true;
    if (IsSameState(node.acks.BootId(), state.boot_id)) {
      // The machine booted; the spool and its numbers are still the same.
      node.acks.Rename(state.boot_id);
    } else {
      node.acks.Reset(state.boot_id, ReportSeq{0});
      node.acked = ReportSeq{0};
    }
  }
  if (node.record.address != state.address ||
      node.record.boot_id != state.boot_id) {
    node.record.address = state.address;
    node.record.boot_id = state.boot_id;
    NoteRecordDue(&node);
  }
  node.session = session;
  node.state = std::move(state);
  node.has_state = true;
  by_session_[session] = &node;
  hearing_.Heard(node.state.node, now.mono);
  return opened;
}

NodeEntry* Sessions::Close(SessionId session, Now now) {
  auto it = by_session_.find(session);
  if (it == by_session_.end()) return nullptr;
  NodeEntry* node = it->second;
  by_session_.erase(it);
  node->session = SessionId{};
  hearing_.Disconnected(node->record.node, now.mono);
  return node;
}

NodeEntry* Sessions::Find(SessionId session) {
  auto it = by_session_.find(session);
  return it == by_session_.end() ? nullptr : it->second;
}

NodeEntry* Sessions::Observe(SessionId session, NodeState state, Now now) {
  NodeEntry* node = Find(session);
  // A stream speaks for the node and the life of its Hello only.
  if (node == nullptr || state.node != node->record.node ||
      state.boot_id != node->record.boot_id) {
    return nullptr;
  }
  node->state = std::move(state);
  hearing_.Heard(node->record.node, now.mono);
  return node;
}

void Sessions::NoteExit(NodeEntry* node, const RankExited& exit) {
  for (NodeRunState& run : node->state.runs) {
    if (run.run != exit.run) continue;
    for (RankState& rank : run.ranks) {
      if (rank.rank != exit.rank || rank.attempt != exit.attempt) continue;
      rank.life = RankLife::kExited;
      rank.exit = exit.exit;
      rank.killed_by_agent = exit.killed_by_agent;
      rank.step = std::max(rank.step, exit.step);
    }
  }
}

NodeEntry* Sessions::FindNode(const NodeId& node) {
  auto it = nodes_.find(node);
  return it == nodes_.end() ? nullptr : &it->second;
}

const NodeEntry* Sessions::FindNode(const NodeId& node) const {
  auto it = nodes_.find(node);
  return it == nodes_.end() ? nullptr : &it->second;
}

void Sessions::Release(const HeldReport& held) {
  held.node->acks.Release(held);
  NoteAckDue(held.node);
}

void Sessions::NoteAckDue(NodeEntry* node) {
  if (node->is_ack_due) return;
  node->is_ack_due = true;
  ack_due_.push_back(node);
}

void Sessions::NoteRecordDue(NodeEntry* node) {
  if (node->is_record_due) return;
  node->is_record_due = true;
  record_due_.push_back(node);
}

std::vector<NodeEntry*> Sessions::TakeAckDue() {
  std::vector<NodeEntry*> due = TakeByName(&ack_due_);
  for (NodeEntry* node : due) node->is_ack_due = false;
  return due;
}

std::vector<NodeEntry*> Sessions::TakeRecordDue() {
  std::vector<NodeEntry*> due = TakeByName(&record_due_);
  for (NodeEntry* node : due) node->is_record_due = false;
  return due;
}

}  // namespace steadyrun
