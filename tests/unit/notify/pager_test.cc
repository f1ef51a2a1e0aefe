// A real command and a real HTTP server as the sinks.

#include "server/notify/pager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/logging.h"
#include "server/notify/page_text.h"
#include "server/web/http_server.h"

namespace steadyrun {
namespace {

using ::testing::HasSubstr;

PagerCounts CountsOf(const Pager& pager, const std::string& sink) {
  for (const auto& one : pager.Counts()) {
    if (one.sink == sink) return one.counts;
  }
  return {};
}

// Answers with the statuses it was given, then with 200; keeps the bodies.
class Receiver final : public HttpFrontend {
 public:
  explicit Receiver(std::vector<int> statuses)
      : statuses_(std::move(statuses)) {}
  std::size_t MaxBody(const std::string&, const std::string&) const override {
    return 64 << 10;
  }
  void Handle(const HttpRequest& request, Respond respond) override {
    HttpResponse response;
    {
      absl::MutexLock lock(&mutex_);
      if (bodies_.size() < statuses_.size()) {
        response.status = statuses_[bodies_.size()];
      }
      bodies_.push_back(request.body);
    }
    respond(std::move(response));
  }
  bool WaitFor(std::size_t count) const {
    absl::MutexLock lock(&mutex_);
    const auto enough = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return bodies_.size() >= count;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(20));
  }
  std::vector<std::string> Bodies() const {
    absl::MutexLock lock(&mutex_);
    return bodies_;
  }

 private:
  const std::vector<int> statuses_;
  mutable absl::Mutex mutex_;
  std::vector<std::string> bodies_ ABSL_GUARDED_BY(mutex_);
};

class PagerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("steadyrun-pager-" + RandomHex64());
    std::filesystem::create_directory(folder_);
    spdlog::set_level(spdlog::level::off);  // Hundreds of pages.
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
};

TEST_F(PagerTest, WithoutSinksAPageIsAtLeastLogged) {
  Pager pager({});
  pager.Execute({"gpt", 3, "halted"});
  EXPECT_EQ(CountsOf(pager, "log").delivered, 1u);
}

TEST_F(PagerTest, TheCommandGetsThePageInItsEnvironment) {
  const std::string file = (folder_ / "page").string();
  PagerOptions options;
  options.command = {
      "/bin/sh", "-c",
      "printf '%s|%s|%s' \"$STEADYRUN_PAGE_RUN\" \"$STEADYRUN_PAGE_INCIDENT\" "
      "\"$STEADYRUN_PAGE_TEXT\" > \"$1\"",
      "pager", file};
  {
    Pager pager(options);
    pager.Execute({"gpt", 3, "halted; $(touch evil) \"quoted\""});
  }  // The end waits for what is queued.
  EXPECT_EQ(*ReadFile(file), "gpt|3|halted; $(touch evil) \"quoted\"");
}

TEST_F(PagerTest, ACommandThatFailsHangsOrIsMissingIsCounted) {
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{
           {"/bin/false"}, {"/bin/sleep", "100"}, {"/nonexistent/program"}}) {
    PagerOptions options;
    options.command = command;
    options.attempts = 1;
    options.timeout = std::chrono::milliseconds(200);
    Pager pager(options);
    pager.Execute({"gpt", 1, "text"});
    ASSERT_TRUE(pager.Flush(std::chrono::seconds(20)));
    EXPECT_EQ(CountsOf(pager, "command").failed, 1u) << command[0];
  }
}

TEST_F(PagerTest, TheWebhookIsTriedAgainUntilItAnswers) {
  Receiver receiver({500, 404});
  HttpServerOptions server_options;
  server_options.address = "127.0.0.1:0";
  const auto server = *HttpServer::Start(server_options, &receiver);
  PagerOptions options;
  options.webhook_url = "http://" + server->Address() + "/hook";
  {
    Pager pager(options);
    pager.Execute({"gpt", 3, "halted: \"loss\"\n"});
    ASSERT_TRUE(receiver.WaitFor(3));
  }
  EXPECT_EQ(receiver.Bodies().size(), 3u);
  EXPECT_EQ(receiver.Bodies()[0],
            "{\"text\":\"Steadyrun: gpt: halted: \\\"loss\\\"\\n\","
            "\"run\":\"gpt\",\"incident\":\"gpt:3\"}");
}

TEST_F(PagerTest, ADeadSinkHoldsUpNeitherTheCallerNorTheEnd) {
  PagerOptions options;
  options.webhook_url = "http://127.0.0.1:1/";  // Nobody listens there.
  Pager pager(options);
  for (int i = 0; i < 400; ++i) pager.Execute({"gpt", 1, "text"});
  EXPECT_GT(CountsOf(pager, "webhook").dropped, 100u);
}

TEST(PageTextTest, IsJsonWhateverTheTextHolds) {
  EXPECT_EQ(PageJson({"", 0, "a\\b\x01"}),
            "{\"text\":\"Steadyrun: a\\\\b\\u0001\",\"run\":\"\","
            "\"incident\":\"\"}");
}

}  // namespace
}  // namespace steadyrun
