#pragma once

#include <span>
#include <vector>

#include "server/engine/effect.h"

namespace steadyrun {

// Of changes that will be one transaction, those that a later one of the same
// key replaces whole: only the last need be written. A batch of steps carries
// the same run and the same nodes' cursors many times.
class LastChanges {
 public:
  explicit LastChanges(std::span<const Change> changes);
  bool IsOverwritten(std::size_t index) const { return overwritten_[index]; }

 private:
  std::vector<bool> overwritten_;
};

}  // namespace steadyrun
