#include "server/engine/goodput_window.h"

#include <algorithm>
#include <string>

#include "server/model/records.h"

namespace steadyrun {
namespace {

double Productive(const RunState& state) {
  const auto found = state.time_seconds.find(
      std::string(TimeCauseName(TimeCause::kProductive)));
  return found == state.time_seconds.end() ? 0 : found->second;
}

}  // namespace

void GoodputWindow::Begin(const RunState& state) {
  looks_.clear();
  const bool is_young = state.accounted - state.created <= kLength;
  looks_.push_back(is_young ? Look{state.created, 0}
                            : Look{state.accounted, Productive(state)});
}

void GoodputWindow::Observe(const RunState& state) {
  if (state.accounted - looks_.back().accounted < kPace) return;
  looks_.push_back({state.accounted, Productive(state)});
  // The window begins at the oldest look that is left.
  while (state.accounted - looks_.front().accounted > kLength) {
    looks_.pop_front();
  }
}

GoodputWindow::Share GoodputWindow::Of(const RunState& state) const {
  Share share;
  if (looks_.empty()) return share;
  const Look& from = looks_.front();
  const Duration over = state.accounted - from.accounted;
  if (over < kLeast) return share;
  // Saving that is told late moves time from steps to checkpoints.
  const double productive = Productive(state) - from.productive;
  share.goodput = std::clamp(productive / ToSeconds(over), 0.0, 1.0);
  share.over = over;
  return share;
}

}  // namespace steadyrun
