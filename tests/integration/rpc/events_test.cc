// WatchEvents over real gRPC: order, resuming, slow readers, limits, the end.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/rpc/event_watch.h"
#include "tests/integration/rpc/fixture.h"

namespace steadyrun {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class MemoryLog final : public EventLog {
 public:
  absl::StatusOr<std::vector<StoredEvent>> Events(
      const EventQuery& query) override {
    absl::MutexLock lock(&mutex_);
    if (!error_.ok()) return error_;
    std::vector<StoredEvent> found;
    for (const StoredEvent& event : events_) {
      if (event.seq <= query.after) continue;
      if (!query.run.empty() && event.run != query.run) continue;
      if (static_cast<std::int32_t>(found.size()) == query.limit) break;
      found.push_back(event);
    }
    return found;
  }
  absl::StatusOr<std::int64_t> NewestEvent() override {
    absl::MutexLock lock(&mutex_);
    return events_.empty() ? 0 : events_.back().seq;
  }
  void Add(const RunId& run, std::string text) {
    absl::MutexLock lock(&mutex_);
    StoredEvent event;
    event.seq = static_cast<std::int64_t>(events_.size()) + 1;
    event.kind = "decision";
    event.run = run;
    event.text = std::move(text);
    events_.push_back(std::move(event));
  }
  void Fail(absl::Status error) {
    absl::MutexLock lock(&mutex_);
    error_ = std::move(error);
  }

 private:
  absl::Mutex mutex_;
  std::vector<StoredEvent> events_ ABSL_GUARDED_BY(mutex_);
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
};

class EventsTest : public RpcTest {
 protected:
  void SetUp() override {
    watch_ = &hub_;
    StartServer();
    stub_ = v1::OperatorService::NewStub(Channel());
  }
  void TearDown() override {
    hub_.Close();
    RpcTest::TearDown();
  }

  struct Call {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::Event>> reader;
    std::int64_t Next() {
      v1::Event event;
      return reader->Read(&event) ? event.seq() : -1;
    }
  };
  std::unique_ptr<Call> Watch(std::int64_t after, const std::string& run = "") {
    auto call = std::make_unique<Call>();
    call->context.set_deadline(std::chrono::system_clock::now() +
                               std::chrono::seconds(30));
    v1::WatchEventsRequest request;
    request.set_after_seq(after);
    request.set_run(run);
    call->reader = stub_->WatchEvents(&call->context, request);
    return call;
  }

  MemoryLog log_;
  EventWatch hub_{&log_};
  std::unique_ptr<v1::OperatorService::Stub> stub_;
};

TEST_F(EventsTest, OldOnesThenNewOnesInOrder) {
  log_.Add("gpt", "one");
  log_.Add("gpt", "two");
  const auto call = Watch(0);
  EXPECT_EQ(call->Next(), 1);
  EXPECT_EQ(call->Next(), 2);
  log_.Add("gpt", "three");
  hub_.Wake();
  EXPECT_EQ(call->Next(), 3);
  const auto resumed = Watch(2);
  EXPECT_EQ(resumed->Next(), 3);
}

TEST_F(EventsTest, OfOneRun) {
  log_.Add("gpt", "one");
  log_.Add("bert", "two");
  log_.Add("gpt", "three");
  const auto call = Watch(0, "gpt");
  EXPECT_EQ(call->Next(), 1);
  EXPECT_EQ(call->Next(), 3);
}

TEST_F(EventsTest, OneThatDoesNotReadHoldsUpNobody) {
  for (int i = 0; i < 5'000; ++i) log_.Add("gpt", std::string(1'000, 'x'));
  const auto slow = Watch(0);  // Reads nothing for now.
  const auto quick = Watch(0);
  for (int i = 1; i <= 5'000; ++i) ASSERT_EQ(quick->Next(), i);
  for (int i = 1; i <= 5'000; ++i) ASSERT_EQ(slow->Next(), i);
}

TEST_F(EventsTest, WhoeverHangsUpLeavesAPlace) {
  for (std::size_t i = 0; i < 3 * EventWatch::kMaxWatchers; ++i) {
    const auto call = Watch(0);
    call->reader->WaitForInitialMetadata();
    call->context.TryCancel();
    EXPECT_EQ(call->Next(), -1);
    call->reader->Finish();
  }
  log_.Add("gpt", "one");
  // The server notices a little later than the client.
  std::int64_t seq = -1;
  for (int i = 0; i < 200 && seq != 1; ++i) {
    seq = Watch(0)->Next();
  }
  EXPECT_EQ(seq, 1);
}

TEST_F(EventsTest, TooManyAreRefused) {
  std::vector<std::unique_ptr<Call>> calls;
  log_.Add("gpt", "one");
  for (std::size_t i = 0; i < EventWatch::kMaxWatchers; ++i) {
    calls.push_back(Watch(0));
    ASSERT_EQ(calls.back()->Next(), 1);
  }
  const auto more = Watch(0);
  EXPECT_EQ(more->Next(), -1);
  EXPECT_EQ(more->reader->Finish().error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(EventsTest, BadRequestsAndFailuresAreToldApart) {
  const auto bad = Watch(-1);
  EXPECT_EQ(bad->Next(), -1);
  const grpc::Status status = bad->reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("after_seq"));

  log_.Add("gpt", "one");
  log_.Fail(absl::UnavailableError("the disk does not answer"));
  const auto failed = Watch(0);
  EXPECT_EQ(failed->Next(), -1);
  EXPECT_EQ(failed->reader->Finish().error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(EventsTest, TheEndOfTheServerEndsTheStream) {
  log_.Add("gpt", "one");
  const auto call = Watch(0);
  EXPECT_EQ(call->Next(), 1);
  hub_.Close();
  EXPECT_EQ(call->Next(), -1);
  EXPECT_EQ(call->reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace steadyrun
