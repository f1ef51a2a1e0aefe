#include "server/engine/report_acks.h"

#include <utility>

namespace steadyrun {

void ReportAcks::Reset(std::string boot_id, ReportSeq acked) {
  boot_id_ = std::move(boot_id);
  received_ = acked;
  first_index_ += held_.size();
  held_.clear();
  ++life_;
}

HeldReport ReportAcks::Hold(NodeEntry* node) {
  held_.push_back({received_, false});
  return {node, life_, first_index_ + held_.size() - 1};
}

void ReportAcks::Release(const HeldReport& held) {
  if (held.life != life_ || held.index < first_index_) return;
  const std::uint64_t offset = held.index - first_index_;
  if (offset >= held_.size()) return;
  held_[offset].is_released = true;
  while (!held_.empty() && held_.front().is_released) {
    held_.pop_front();
    ++first_index_;
  }
}

ReportSeq ReportAcks::Applied() const {
  return held_.empty() ? received_ : ReportSeq{held_.front().seq.value - 1};
}

}  // namespace steadyrun
