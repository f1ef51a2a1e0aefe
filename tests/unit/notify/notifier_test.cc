// The notifier with a real database and a real HTTP receiver that fails.

#include "server/notify/notifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/digest.h"
#include "base/logging.h"
#include "server/storage/sqlite_store.h"
#include "server/web/http_server.h"

namespace steadyrun {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// Answers with the statuses it was given, then with 200; keeps the requests.
class Receiver final : public HttpFrontend {
 public:
  explicit Receiver(std::vector<int> statuses)
      : statuses_(std::move(statuses)) {}
  std::size_t MaxBody(const std::string&, const std::string&) const override {
    return 256 << 10;
  }
  void Handle(const HttpRequest& request, Respond respond) override {
    HttpResponse response;
    {
      absl::MutexLock lock(&mutex_);
      if (requests_.size() < statuses_.size()) {
        response.status = statuses_[requests_.size()];
      }
      requests_.push_back(request);
    }
    respond(std::move(response));
  }
  // All requests once there are `count`; fewer after 20 s.
  std::vector<HttpRequest> WaitFor(std::size_t count) const {
    absl::MutexLock lock(&mutex_);
    const auto enough = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return requests_.size() >= count;
    };
    mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(20));
    return requests_;
  }

 private:
  const std::vector<int> statuses_;
  mutable absl::Mutex mutex_;
  std::vector<HttpRequest> requests_ ABSL_GUARDED_BY(mutex_);
};

Incident MakeIncident(const RunId& run, std::int64_t number) {
  Incident incident;
  incident.run = run;
  incident.number = number;
  incident.kind = IncidentKind::kHang;
  incident.reason = "nobody advances";
  incident.detected = SystemClock().WallNow();
  return incident;
}

class NotifierTest : public testing::Test {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    folder_ = std::filesystem::temp_directory_path() /
              ("steadyrun-notifier-" + RandomHex64());
    std::filesystem::create_directory(folder_);
    OpenStore();
    options_.group_wait = {};
    backend_.clock = &clock_;
    backend_.is_paged = [](const RunId& run) { return run == "marked"; };
    backend_.can_observe = [] { return true; };
    backend_.halted = [] { return std::vector<HaltedRun>(); };
  }
  void TearDown() override {
    notifier_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  void OpenStore() {
    store_.reset();
    StoreOptions options;
    options.data_dir = folder_.string();
    store_ = *SqliteStore::Open(options, &clock_);
    ASSERT_TRUE(store_->Load(clock_.Both()).ok());
    backend_.store = &store_->notices();
  }
  std::string Listen(Receiver* receiver) {
    HttpServerOptions options;
    options.address = "127.0.0.1:0";
    http_ = *HttpServer::Start(options, receiver);
    return "http://" + http_->Address();
  }
  void Commit(std::vector<Change> changes) {
    ASSERT_TRUE(store_->Apply(changes, clock_.Both()).ok());
    if (notifier_ != nullptr) notifier_->Wake();
  }
  void StartNotifier() {
    notifier_ = std::make_unique<Notifier>(options_, backend_);
  }
  // The only sink, once it has delivered so much.
  Notifier::SinkStatus WaitDelivered(std::uint64_t count) {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (notifier_->Status()[0].delivered < count && absl::Now() < deadline) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    return notifier_->Status()[0];
  }

  SystemClock clock_;
  std::filesystem::path folder_;
  std::unique_ptr<SqliteStore> store_;
  NotifierOptions options_;
  NotifierBackend backend_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<Notifier> notifier_;
};

TEST_F(NotifierTest, IsTriedUntilTheReceiverTakesIt) {
  Receiver receiver({500, 404});
  options_.sinks.slack_url = Listen(&receiver);
  StartNotifier();
  Commit({MakeIncident("gpt", 1)});
  EXPECT_THAT(receiver.WaitFor(3), SizeIs(3));
  const auto status = WaitDelivered(1);
  EXPECT_EQ(status.delivered, 1u);
  EXPECT_EQ(status.failed, 2u);
}

TEST_F(NotifierTest, WhatIsRefusedIsDroppedAndCounted) {
  Receiver receiver({400});
  options_.sinks.slack_url = Listen(&receiver);
  StartNotifier();
  Commit({MakeIncident("gpt", 1)});
  EXPECT_THAT(receiver.WaitFor(1), SizeIs(1));
  Commit({MakeIncident("bert", 1)});
  EXPECT_EQ(WaitDelivered(1).dropped, 1u);
  EXPECT_THAT(receiver.WaitFor(2)[1].body, HasSubstr("bert:1"));
}

TEST_F(NotifierTest, IsToldAcrossARestartAndOnlyOnce) {
  {
    // The receiver is away while the incident opens, and the service ends.
    options_.sinks.webhook_url = "http://127.0.0.1:1/hook";
    options_.sinks.webhook_secret = "secret";
    StartNotifier();
    Commit({MakeIncident("gpt", 1), Page{"gpt", 1, "a person must look"}});
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (notifier_->Status()[0].failed < 1 && absl::Now() < deadline) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    EXPECT_NE(notifier_->Status()[0].error, "");
    notifier_.reset();
  }
  OpenStore();
  Receiver receiver({});
  options_.sinks.webhook_url = Listen(&receiver) + "/hook";
  StartNotifier();
  const auto requests = receiver.WaitFor(1);
  ASSERT_THAT(requests, SizeIs(1));
  EXPECT_EQ(requests[0].path, "/hook");
  EXPECT_THAT(requests[0].body,
              AllOf(HasSubstr("gpt:1"), HasSubstr("a person must look")));
  EXPECT_THAT(std::string(requests[0].Header("x-steadyrun-signature")),
              HasSubstr(",v1="));
  EXPECT_EQ(WaitDelivered(1).delivered, 1u);
  // Again from the start: nothing is due. The next incident is the second
  // message, so that there was none between.
  notifier_.reset();
  OpenStore();
  StartNotifier();
  Commit({MakeIncident("gpt", 2), MakeIncident("bert", 1)});
  EXPECT_THAT(receiver.WaitFor(2)[1].body, HasSubstr("bert:1"));
}

TEST_F(NotifierTest, PagingSinksAreToldOfMarkedRunsOnly) {
  Receiver receiver({});
  options_.sinks.pagerduty_url = Listen(&receiver);
  options_.sinks.pagerduty_routing_key = "key";
  StartNotifier();
  Commit({MakeIncident("quiet", 1), MakeIncident("marked", 1)});
  EXPECT_THAT(receiver.WaitFor(1)[0].body, HasSubstr("marked:1"));
  EXPECT_EQ(WaitDelivered(1).delivered, 1u);
  Commit({MakeIncident("marked", 2), Page{"", 0, "of the service"}});
  const auto requests = receiver.WaitFor(2);
  EXPECT_THAT(requests[1].body, HasSubstr("of the service"));
}

TEST_F(NotifierTest, AlertmanagerIsToldAgainAndAgain) {
  Receiver receiver({503});
  options_.alertmanager_url = Listen(&receiver);
  options_.alertmanager_interval = std::chrono::milliseconds(50);
  Commit({MakeIncident("gpt", 1)});
  StartNotifier();
  const auto requests = receiver.WaitFor(4);
  EXPECT_EQ(requests[3].path, "/api/v2/alerts");
  EXPECT_THAT(requests[3].body, HasSubstr("\"SteadyrunHang\""));
}

TEST_F(NotifierTest, TheDeadManIsNotToldByTheBlind) {
  Receiver receiver({});
  std::atomic<int> asked{0};
  std::atomic<bool> can_see{false};
  backend_.can_observe = [&] {
    ++asked;
    return can_see.load();
  };
  options_.dead_man_url = Listen(&receiver) + "/ping";
  options_.dead_man_interval = std::chrono::milliseconds(20);
  StartNotifier();
  while (asked < 3) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_THAT(receiver.WaitFor(0), SizeIs(0));
  can_see = true;
  EXPECT_EQ(receiver.WaitFor(1)[0].path, "/ping");
}

TEST_F(NotifierTest, AProgramGetsTheTextOnItsInput) {
  const std::string file = (folder_ / "notice").string();
  options_.sinks.command = {"/bin/sh", "-c",
                            "{ echo \"$STEADYRUN_NOTICE_RUN\"; cat; } > \"$1\"",
                            "notice", file};
  StartNotifier();
  Commit({MakeIncident("gpt", 1)});
  EXPECT_EQ(WaitDelivered(1).delivered, 1u);
  std::FILE* written = std::fopen(file.c_str(), "r");
  ASSERT_NE(written, nullptr);
  char text[4096] = "";
  EXPECT_GT(std::fread(text, 1, sizeof text - 1, written), 0u);
  std::fclose(written);
  EXPECT_THAT(std::string(text),
              AllOf(HasSubstr("gpt\n"), HasSubstr("nobody advances")));
}

}  // namespace
}  // namespace steadyrun
