#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace steadyrun {

// Lets one thread write to the database at a time: SQLite would make the
// second one poll. The engine's commits wait for at most one piece of
// maintenance. Also remembers that a sync has failed, on whatever thread.
class WriteGate {
 public:
  absl::Mutex& mutex() ABSL_LOCK_RETURNED(mutex_) { return mutex_; }

  // Keeps the first DATA_LOSS; passes `status` on.
  absl::Status Note(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (absl::IsDataLoss(status) && fatal_.ok()) fatal_ = status;
    return status;
  }
  absl::Status Fatal() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return fatal_;
  }

 private:
  absl::Mutex mutex_;
  absl::Status fatal_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace steadyrun
