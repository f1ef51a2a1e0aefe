#include "agent/app/path_follower.h"

#include <pthread.h>

#include <utility>

#include "absl/time/time.h"

namespace steadyrun::agent {

PathFollower::PathFollower(Duration interval) : interval_(interval) {}

PathFollower::~PathFollower() {
  {
    absl::MutexLock lock(&mutex_);
    is_stopping_ = true;
  }
  if (thread_) thread_->join();
}

void PathFollower::Follow(const RankKey& key, Open open) {
  absl::MutexLock lock(&mutex_);
  auto one = std::make_shared<Followed>();
  one->open = std::move(open);
  followed_[key] = std::move(one);
  is_changed_ = true;
  if (thread_) return;
  thread_.emplace([this] { Run(); });
  ::pthread_setname_np(thread_->native_handle(), "log-path");
}

void PathFollower::End(const RankKey& key) {
  absl::MutexLock lock(&mutex_);
  const auto it = followed_.find(key);
  if (it == followed_.end()) return;
  it->second->is_ending = true;
  is_changed_ = true;
}

bool PathFollower::Drop(const RankKey& key) {
  absl::MutexLock lock(&mutex_);
  return followed_.erase(key) > 0;
}

std::vector<PathFollower::Reading> PathFollower::Take() {
  std::vector<Reading> taken;
  absl::MutexLock lock(&mutex_);
  for (auto& [key, one] : followed_) {
    if (!one->ready) continue;
    taken.push_back(*std::exchange(one->ready, std::nullopt));
    // One that holds something keeps the older cursor.
    if (!one->ready_cursor.empty()) one->taken_cursor = one->ready_cursor;
    is_changed_ |= one->is_ending;
  }
  return taken;
}

void PathFollower::CommitCursors() {
  absl::MutexLock lock(&mutex_);
  for (auto& [key, one] : followed_) one->due_cursor = one->taken_cursor;
}

void PathFollower::Run() {
  for (;;) {
    std::map<RankKey, std::shared_ptr<Followed>> now_due;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(this, &PathFollower::HasWork),
                              absl::FromChrono(interval_));
      if (is_stopping_) return;
      is_changed_ = false;
      for (const auto& [key, one] : followed_) {
        if (!one->ready) now_due.emplace(key, one);
      }
    }
    for (const auto& [key, one] : now_due) ReadOne(one, key);
  }
}

void PathFollower::ReadOne(const std::shared_ptr<Followed>& one,
                           const RankKey& key) {
  std::string cursor;
  bool is_ending = false;
  {
    absl::MutexLock lock(&mutex_);
    cursor = std::exchange(one->due_cursor, {});
    is_ending = one->is_ending;
  }
  if (!one->source) one->source = one->open();
  if (!cursor.empty()) one->source->WriteCursor(cursor);
  Reading reading;
  reading.key = key;
  const Now now = clock_.Both();
  reading.events = is_ending ? one->source->Drain(now) : one->source->Poll(now);
  reading.notes = one->source->TakeNotes();
  reading.last_step = one->source->last_step();
  absl::MutexLock lock(&mutex_);
  one->ready_cursor = one->source->Cursor();
  if (!reading.events.empty() || !reading.notes.empty() ||
      reading.last_step != one->last_step) {
    one->last_step = reading.last_step;
    one->ready = std::move(reading);
  } else if (!one->ready_cursor.empty()) {
    one->taken_cursor = one->ready_cursor;
  }
  if (!is_ending) return;
  // Its last reading stays until it is taken.
  if (!one->ready) followed_.erase(key);
}

}  // namespace steadyrun::agent
