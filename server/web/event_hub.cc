#include "server/web/event_hub.h"

#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "base/digest.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {

class EventHub::Viewer final : public HttpStream {
 public:
  explicit Viewer(EventHub* hub) : hub_(hub) {}
  ~Viewer() override { hub_->Leave(this); }

  std::string Next() override { return hub_->TakeFor(this); }
  void SetWake(std::function<void()> wake_up) override {
    absl::MutexLock lock(&hub_->mutex_);
    wake = std::move(wake_up);
  }

  // Under the hub's mutex.
  std::uint64_t next_id = 0;
  bool must_resync = false;
  bool is_waiting = false;
  std::function<void()> wake;

 private:
  EventHub* const hub_;
};

EventHub::EventHub(EventHubOptions options)
    : options_(options), life_(RandomHex64()) {}

void EventHub::Publish(std::string_view name, std::string_view json) {
  // Called without the lock: they may hold the last hand on a viewer.
  std::vector<std::function<void()>> wakes;
  absl::MutexLock lock(&publishing_);
  Append(name, json, &wakes);
  for (const auto& wake : wakes) wake();
}

void EventHub::Append(std::string_view name, std::string_view json,
                      std::vector<std::function<void()>>* wakes) {
  absl::MutexLock lock(&mutex_);
  std::string text = fmt::format("id: {}-{}\nevent: {}\ndata: {}\n\n", life_,
                                 NextId(), name, json);
  bytes_ += text.size();
  ring_.push_back({std::move(text)});
  while (ring_.size() > options_.max_events ||
         (bytes_ > options_.max_bytes && ring_.size() > 1)) {
    bytes_ -= ring_.front().text.size();
    ring_.pop_front();
    ++first_id_;
  }
  for (Viewer* viewer : viewers_) {
    if (!viewer->is_waiting || !viewer->wake) continue;
    viewer->is_waiting = false;
    wakes->push_back(viewer->wake);
  }
}

absl::StatusOr<std::shared_ptr<HttpStream>> EventHub::Subscribe(
    std::string_view last_event_id) {
  auto viewer = std::make_shared<Viewer>(this);
  absl::MutexLock lock(&mutex_);
  if (viewers_.size() >= options_.max_viewers) {
    return absl::ResourceExhaustedError(fmt::format(
        "{} viewers watch already; try again in a while", viewers_.size()));
  }
  viewer->next_id = NextId();
  if (!last_event_id.empty()) {
    const std::string prefix = life_ + "-";
    std::uint64_t last = 0;
    const bool is_ours =
        last_event_id.substr(0, prefix.size()) == prefix &&
        absl::SimpleAtoi(std::string(last_event_id.substr(prefix.size())),
                         &last);
    if (is_ours && last + 1 >= first_id_ && last < NextId()) {
      viewer->next_id = last + 1;
    } else {
      viewer->must_resync = true;
    }
  }
  viewers_.insert(viewer.get());
  return std::shared_ptr<HttpStream>(std::move(viewer));
}

std::string EventHub::TakeFor(Viewer* viewer) {
  absl::MutexLock lock(&mutex_);
  std::string piece;
  if (viewer->must_resync || viewer->next_id < first_id_) {
    viewer->must_resync = false;
    viewer->next_id = NextId();
    return fmt::format("id: {}-{}\nevent: resync\ndata: {{}}\n\n", life_,
                       viewer->next_id - 1);
  }
  while (viewer->next_id < NextId()) {
    const std::string& text = ring_[viewer->next_id - first_id_].text;
    if (!piece.empty() &&
        piece.size() + text.size() > options_.max_piece_bytes) {
      break;
    }
    piece += text;
    ++viewer->next_id;
  }
  viewer->is_waiting = piece.empty();
  return piece;
}

void EventHub::Leave(Viewer* viewer) {
  absl::MutexLock lock(&mutex_);
  viewers_.erase(viewer);
}

std::size_t EventHub::Viewers() const {
  absl::MutexLock lock(&mutex_);
  return viewers_.size();
}

}  // namespace steadyrun
