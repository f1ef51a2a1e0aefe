#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "base/ids.h"

namespace steadyrun {

struct NodeEntry;

// A report that is received but not yet part of a committed row. Names its
// place, so that releasing it is O(1); outdated after ReportAcks::Reset.
struct HeldReport {
  NodeEntry* node = nullptr;
  std::uint32_t life = 0;
  std::uint64_t index = 0;
};

// Which of a node's reports are received, and how far they are applied: a
// report may only be acknowledged when all up to it are applied, since the
// agent then forgets them. Most are applied at once; step blocks wait until
// their row is closed.
class ReportAcks {
 public:
  // A new life of the node's state (boot_id), or the state after loading.
  void Reset(std::string boot_id, ReportSeq acked);

  // The same reports under a new boot_id: the machine booted, its disk stayed.
  void Rename(std::string boot_id) { boot_id_ = std::move(boot_id); }

  const std::string& BootId() const { return boot_id_; }
  bool IsNew(ReportSeq seq) const { return seq > received_; }
  // Taken and applied, in order of seq.
  void Receive(ReportSeq seq) { received_ = seq; }
  // The newest received one is not applied yet.
  HeldReport Hold(NodeEntry* node);
  void Release(const HeldReport& held);

  ReportSeq Received() const { return received_; }
  // All up to this are applied.
  ReportSeq Applied() const;
  std::size_t HeldCount() const { return held_.size(); }

 private:
  struct Held {
    ReportSeq seq;
    bool is_released = false;
  };
  std::string boot_id_;
  ReportSeq received_;
  std::deque<Held> held_;          // Ascending seq; front is not released.
  std::uint64_t first_index_ = 0;  // Of held_.front().
  std::uint32_t life_ = 0;
};

}  // namespace steadyrun
