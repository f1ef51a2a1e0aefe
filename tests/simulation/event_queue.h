#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace steadyrun::sim {

// Virtual time: what happens next, and when. Equal times keep their order.
class EventQueue {
 public:
  using Action = std::function<void()>;

  // Since the start of the simulation.
  Duration now() const { return now_; }
  std::uint64_t executed() const { return executed_; }

  void At(Duration time, Action action) {
    std::uint32_t slot;
    if (free_.empty()) {
      slot = static_cast<std::uint32_t>(actions_.size());
      actions_.push_back(std::move(action));
    } else {
      slot = free_.back();
      free_.pop_back();
      actions_[slot] = std::move(action);
    }
    heap_.push({std::max(time, now_), next_++, slot});
  }
  void After(Duration delay, Action action) {
    At(now_ + delay, std::move(action));
  }

  // Executes the next event; false if there is none.
  bool RunOne() {
    if (heap_.empty()) return false;
    const Entry entry = heap_.top();
    heap_.pop();
    now_ = entry.at;
    ++executed_;
    Action action = std::move(actions_[entry.slot]);
    actions_[entry.slot] = nullptr;
    free_.push_back(entry.slot);
    action();
    return true;
  }

 private:
  struct Entry {
    Duration at;
    std::uint64_t order;
    std::uint32_t slot;
    bool operator<(const Entry& other) const {  // Earliest on top.
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  Duration now_{};
  std::uint64_t next_ = 0;
  std::uint64_t executed_ = 0;
  std::priority_queue<Entry> heap_;
  std::vector<Action> actions_;
  std::vector<std::uint32_t> free_;
};

}  // namespace steadyrun::sim
