#include "server/web/journal_feed.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "server/web/responses.h"

namespace steadyrun {
namespace {

// A store that cannot be read is tried again so often.
constexpr absl::Duration kRetry = absl::Seconds(1);
constexpr std::int32_t kBatch = 64;

}  // namespace

void JournalFeed::Bell::Ring() {
  absl::MutexLock lock(&mutex);
  is_rung = true;
}

class JournalFeed::Stream final : public HttpStream {
 public:
  Stream(std::shared_ptr<Bell> bell, std::int64_t after, std::string run)
      : bell_(std::move(bell)), run_(std::move(run)), after_(after) {}

  std::string Next() override {
    std::string piece;
    {
      absl::MutexLock lock(&mutex_);
      piece = std::exchange(piece_, "");
      is_waiting_ = piece.empty();
    }
    bell_->Ring();  // The next one may be read.
    return piece;
  }
  void SetWake(std::function<void()> wake) override {
    absl::MutexLock lock(&mutex_);
    wake_ = std::move(wake);
  }

  // Of the feed's thread alone.
  bool IsEmpty() {
    absl::MutexLock lock(&mutex_);
    return piece_.empty();
  }
  std::int64_t After() const { return after_; }
  const std::string& RunName() const { return run_; }
  void Put(std::string piece, std::int64_t after) {
    after_ = after;
    std::function<void()> wake;
    {
      absl::MutexLock lock(&mutex_);
      piece_ = std::move(piece);
      if (std::exchange(is_waiting_, false)) wake = wake_;
    }
    if (wake) wake();
  }

 private:
  const std::shared_ptr<Bell> bell_;
  const std::string run_;
  std::int64_t after_;
  absl::Mutex mutex_;
  // Sent at once, so that the client sees that it is connected.
  std::string piece_ ABSL_GUARDED_BY(mutex_) = "retry: 2000\n\n";
  bool is_waiting_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> wake_ ABSL_GUARDED_BY(mutex_);
};

JournalFeed::JournalFeed(OperatorApi* api)
    : api_(api), bell_(std::make_shared<Bell>()), thread_([this] { Run(); }) {}

JournalFeed::~JournalFeed() {
  {
    absl::MutexLock lock(&bell_->mutex);
    bell_->is_closed = true;
  }
  thread_.join();
}

void JournalFeed::Wake() { bell_->Ring(); }

absl::StatusOr<std::shared_ptr<HttpStream>> JournalFeed::Follow(
    std::int64_t after, std::string run) {
  auto stream = std::make_shared<Stream>(bell_, after, std::move(run));
  absl::MutexLock lock(&mutex_);
  std::erase_if(streams_, [](const auto& one) { return one.expired(); });
  if (streams_.size() >= kMaxStreams) {
    return absl::ResourceExhaustedError(fmt::format(
        "{} streams of the journal are open, at most {}: close one, or poll "
        "/api/v1/journal?after=N",
        streams_.size(), kMaxStreams));
  }
  streams_.push_back(stream);
  return stream;
}

std::vector<std::shared_ptr<JournalFeed::Stream>> JournalFeed::Living() {
  std::vector<std::shared_ptr<Stream>> living;
  absl::MutexLock lock(&mutex_);
  for (const auto& one : streams_) {
    if (auto stream = one.lock()) living.push_back(std::move(stream));
  }
  return living;
}

void JournalFeed::Run() {
  while (true) {
    {
      absl::MutexLock lock(&bell_->mutex);
      bell_->mutex.AwaitWithTimeout(
          absl::Condition(
              +[](Bell* bell) { return bell->is_rung || bell->is_closed; },
              bell_.get()),
          kRetry);
      if (bell_->is_closed) return;
      bell_->is_rung = false;
    }
    for (const auto& stream : Living()) {
      if (stream->IsEmpty()) Serve(stream);
    }
  }
}

void JournalFeed::Serve(const std::shared_ptr<Stream>& stream) {
  v1::ListEventsRequest request;
  request.set_after_seq(stream->After());
  request.set_run(stream->RunName());
  request.set_limit(kBatch);
  v1::ListEventsReply reply;
  if (const auto status = api_->ListEvents(request, &reply); !status.ok()) {
    spdlog::warn("the journal cannot be read: {}", status.ToString());
    return;  // Tried again.
  }
  std::string piece;
  std::int64_t after = stream->After();
  for (const v1::Event& event : reply.events()) {
    if (piece.size() >= kMaxPiece) break;
    piece += fmt::format("id: {}\nevent: {}\ndata: {}\n\n", event.seq(),
                         event.kind(), ToJson(event));
    after = event.seq();
  }
  if (!piece.empty()) stream->Put(std::move(piece), after);
}

}  // namespace steadyrun
