#pragma once

// Which share of a run's newest day was productive, told from its time ledger.
//
// The ledger only grows, so that the difference of two looks at it is what a
// stretch of time went to. A look is kept every quarter of an hour for a day:
// at most 97 of them. After a restart of the service, a run younger than a day
// is measured from its beginning; of an older one the looks are gone, and the
// window begins anew.

#include <deque>

#include "base/clock.h"
#include "server/model/run_state.h"

namespace steadyrun {

class GoodputWindow {
 public:
  static constexpr Duration kLength = std::chrono::hours(24);
  static constexpr Duration kPace = std::chrono::minutes(15);
  // A share of less time than this says nothing.
  static constexpr Duration kLeast = std::chrono::minutes(1);

  // Begins with what is known of the run.
  void Begin(const RunState& state);
  // A look, if one is due. On ticks.
  void Observe(const RunState& state);

  struct Share {
    double goodput = 0;
    Duration over{};  // 0: unknown.
  };
  Share Of(const RunState& state) const;

 private:
  struct Look {
    WallTime accounted;
    double productive = 0;  // Seconds, up to then.
  };

  std::deque<Look> looks_;  // Oldest first; never empty after Begin().
};

}  // namespace steadyrun
