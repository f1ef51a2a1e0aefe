#pragma once

// Durable state. One writer, the engine's thread; readers through History.

#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/engine/effect.h"
#include "server/model/snapshot.h"
#include "server/storage/history.h"

namespace steadyrun {

// Calls come from one thread. Errors of all:
//   RESOURCE_EXHAUSTED  the disk is full: nothing was changed, try again later
//   UNAVAILABLE         the disk does not answer: nothing was changed, try
//   again DATA_LOSS           a sync failed or the file is damaged: what was
//                       acknowledged may be gone from the page cache. End the
//                       process; the next start verifies what is there.
class Store {
 public:
  virtual ~Store() = default;

  // Everything the engine starts from. Increments server_epoch and commits
  // that before it returns. Monotonic times are re-based: a deadline that had
  // 10 s left when it was saved has 10 s left from `now.mono`.
  virtual absl::StatusOr<Snapshot> Load(Now now) = 0;

  // All of `changes`, in order, in one durable transaction, or none of them.
  // `now` is the time of the newest event behind them.
  virtual absl::Status Apply(std::span<const Change> changes, Now now) = 0;
};

}  // namespace steadyrun
