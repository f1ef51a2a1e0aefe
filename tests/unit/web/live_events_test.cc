// Live events and logins over real sockets: slow, dead and too many viewers,
// cookies, forged requests.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <sys/socket.h>

#include <chrono>
#include <list>
#include <thread>

#include "base/digest.h"
#include "server/web/api_frontend.h"
#include "server/web/live_feed.h"
#include "spdlog/fmt/fmt.h"
#include "tests/fakes/service_fakes.h"
#include "tests/unit/web/http_client.h"

namespace steadyrun {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class LiveEventsTest : public ::testing::Test {
 protected:
  void Start(HttpServerOptions options = {}, TokenSet tokens = {}) {
    tokens_ = std::move(tokens);
    OperatorBackend backend{&sink_, &live_, &history_, &replies_, &clock_};
    api_ = std::make_unique<OperatorApi>(backend);
    ApiFrontendOptions front;
    front.clock = &clock_;
    front.events = &hub_;
    frontend_ = std::make_unique<ApiFrontend>(front, api_.get(), &tokens_,
                                              [] { return std::string(); });
    options.address = "127.0.0.1:0";
    server_ = *HttpServer::Start(options, frontend_.get());
    port_ = server_->Port();
  }
  static TokenSet Tokens() {
    return *TokenSet::Parse(
        fmt::format("viewer {} vera\noperator {} otto\n", Sha256Hex("view"),
                    Sha256Hex("operate")),
        "tokens");
  }
  static std::string Watch(const std::string& headers = "") {
    return "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n" + headers +
           "\r\n";
  }
  // Whether `count` viewers watch, soon.
  bool HasViewers(std::size_t count) {
    const auto end =
        std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (hub_.Viewers() != count) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }
  HttpClient::Response Login(const std::string& token) {
    return Post(port_, "/api/v1/login",
                fmt::format("{{\"token\":\"{}\"}}", token));
  }

  ManualClock clock_;
  RecordingSink sink_;
  SettableLive live_;
  MemoryHistory history_;
  TokenSet tokens_;
  PendingReplies replies_{&clock_, std::chrono::seconds(10)};
  EventHub hub_{EventHubOptions{3, 1000, 1 << 20, 32 << 10}};
  std::unique_ptr<OperatorApi> api_;
  std::unique_ptr<ApiFrontend> frontend_;
  std::unique_ptr<HttpServer> server_;
  int port_ = 0;
};

TEST_F(LiveEventsTest, EventsArriveAndAGoneViewerIsForgotten) {
  Start();
  {
    HttpClient client(port_);
    client.Send(Watch());
    ASSERT_TRUE(HasViewers(1));
    hub_.Publish("run", R"({"step":7})");
    const std::string text = client.ReadAll(0.5);
    EXPECT_THAT(text, HasSubstr("Content-Type: text/event-stream"));
    EXPECT_THAT(text, HasSubstr("data: {\"step\":7}\n\n"));
  }
  EXPECT_TRUE(HasViewers(0));
}

TEST_F(LiveEventsTest, ASilentStreamSendsComments) {
  HttpServerOptions options;
  options.stream_comment = std::chrono::milliseconds(20);
  Start(options);
  HttpClient client(port_);
  client.Send(Watch());
  ASSERT_TRUE(HasViewers(1));
  // There is no end to read to: until the comment is there, or the socket's
  // own time is up.
  std::string text;
  char bytes[4096];
  while (text.find(": still here\n\n") == std::string::npos) {
    const ssize_t count = ::recv(client.fd(), bytes, sizeof(bytes), 0);
    if (count > 0) text.append(bytes, static_cast<std::size_t>(count));
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) break;
  }
  EXPECT_THAT(text, HasSubstr(": still here\n\n"));
}

TEST_F(LiveEventsTest, AViewerThatDoesNotReadIsCut) {
  HttpServerOptions options;
  options.write_timeout = std::chrono::milliseconds(200);
  Start(options);
  HttpClient slow(port_);
  slow.Send(Watch());
  ASSERT_TRUE(HasViewers(1));
  // More than the sockets' buffers hold; the ring keeps but a part of it.
  const std::string big(30'000, 'x');
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (hub_.Viewers() == 1 && std::chrono::steady_clock::now() < end) {
    hub_.Publish("run", big);
    std::this_thread::yield();
  }
  EXPECT_EQ(hub_.Viewers(), 0u);
  EXPECT_EQ(Get(port_, "/healthz").status, 200);
}

// A machine that lost its power says no goodbye, and confirms nothing: its
// end of the connection is deaf here. The little that a silent stream sends
// would fit the socket's buffer for hours.
TEST_F(LiveEventsTest, AViewerWhoseMachineIsGoneLeavesItsPlace) {
  HttpServerOptions options;
  options.write_timeout = std::chrono::milliseconds(300);
  options.stream_comment = std::chrono::milliseconds(20);
  Start(options);
  HttpClient gone(port_);
  gone.Send(Watch());
  ASSERT_TRUE(HasViewers(1));
  sock_filter drop_all{BPF_RET | BPF_K, 0, 0, 0};
  const sock_fprog program{1, &drop_all};
  ASSERT_EQ(::setsockopt(gone.fd(), SOL_SOCKET, SO_ATTACH_FILTER, &program,
                         sizeof(program)),
            0);
  EXPECT_TRUE(HasViewers(0));
  EXPECT_EQ(Get(port_, "/healthz").status, 200);
}

TEST_F(LiveEventsTest, TooManyViewersAreToldToComeBack) {
  Start();
  std::list<HttpClient> viewers;
  for (int i = 0; i < 3; ++i) viewers.emplace_back(port_).Send(Watch());
  ASSERT_TRUE(HasViewers(3));
  const auto refused = Get(port_, "/api/v1/events");
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.headers.at("retry-after"), "5");
  viewers.clear();
  EXPECT_TRUE(HasViewers(0));
}

TEST_F(LiveEventsTest, TheServerStopsWithViewersWatching) {
  Start();
  HttpClient client(port_);
  client.Send(Watch());
  ASSERT_TRUE(HasViewers(1));
  server_->Stop();
  EXPECT_EQ(hub_.Viewers(), 0u);
}

TEST_F(LiveEventsTest, AForeignHostAndNoTokenSeeNothing) {
  Start({}, Tokens());
  EXPECT_EQ(Get(port_, "/api/v1/events").status, 401);
  HttpClient foreign(port_);
  foreign.Send("GET /api/v1/events HTTP/1.1\r\nHost: evil.example\r\n\r\n");
  EXPECT_EQ(foreign.Read().status, 403);
  EXPECT_EQ(hub_.Viewers(), 0u);
}

TEST_F(LiveEventsTest, TheFeedTellsFiguresAndChanges) {
  Start();
  RunView run;
  run.state.spec.run = "gpt";
  run.state.phase = RunPhase::kRunning;
  run.loss = std::nan("");
  run.verdict = "broken \xff utf-8";
  EngineView view;
  view.runs = {run};
  live_.Set(view);
  const auto viewer = *hub_.Subscribe("");
  LiveFeed feed(&live_, &hub_);
  Incident incident;
  incident.run = "gpt";
  Outcome outcome;
  outcome.changes.emplace_back(incident);
  feed.Observe(outcome);
  std::string text;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (text.find("event: run") == std::string::npos &&
         std::chrono::steady_clock::now() < end) {
    text += viewer->Next();
  }
  EXPECT_THAT(text, HasSubstr(R"({"run":"gpt","what":["incident"]})"));
  EXPECT_THAT(text, HasSubstr(R"("phase":"running")"));
  EXPECT_THAT(text, HasSubstr(R"("loss":null)"));
}

TEST_F(LiveEventsTest, ALoginGivesACookieThatIsNotTheToken) {
  Start({}, Tokens());
  const auto reply = Login("view");
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_THAT(reply.body, HasSubstr("\"role\":\"viewer\""));
  const std::string set = reply.headers.at("set-cookie");
  EXPECT_THAT(set, HasSubstr("HttpOnly; SameSite=Strict"));
  EXPECT_THAT(set, Not(HasSubstr("view;")));
  const std::string cookie =
      "Cookie: a=b; " + set.substr(0, set.find(';')) + "; c=d\r\n";
  EXPECT_EQ(Get(port_, "/api/v1/runs", cookie).status, 200);
  EXPECT_EQ(
      Get(port_, "/api/v1/runs", "Cookie: steadyrun_session=x\r\n").status,
      401);
  // A viewer does not act, and no cookie acts without the header.
  const std::string act = "/api/steadyrun.v1.OperatorService/Act";
  const std::string json = "Content-Type: application/json\r\n";
  const std::string ours = "X-Steadyrun-Request: 1\r\n";
  EXPECT_EQ(Post(port_, act, "{}", json + ours + cookie).status, 403);
  const auto operator_set = Login("operate").headers.at("set-cookie");
  const std::string stronger =
      "Cookie: " + operator_set.substr(0, operator_set.find(';')) + "\r\n";
  EXPECT_EQ(Post(port_, act, "{}", json + stronger).status, 403);
  EXPECT_EQ(Post(port_, act, "{}",
                 json + ours + stronger + "Origin: http://evil.example\r\n")
                .status,
            403);
  EXPECT_EQ(Post(port_, act, "{}", json + ours + stronger).status, 400);
  // Twelve hours later, or logged out, it is worth nothing.
  EXPECT_EQ(Post(port_, "/api/v1/logout", "{}", json + ours + stronger).status,
            200);
  EXPECT_EQ(Get(port_, "/api/v1/runs", stronger).status, 401);
  clock_.Advance(std::chrono::hours(13));
  EXPECT_EQ(Get(port_, "/api/v1/runs", cookie).status, 401);
}

TEST_F(LiveEventsTest, ABadLoginIsRefusedClearly) {
  Start({}, Tokens());
  EXPECT_EQ(Login("wrong").status, 401);
  EXPECT_EQ(Post(port_, "/api/v1/login", "not json").status, 400);
  EXPECT_EQ(Post(port_, "/api/v1/login", "[1]").status, 400);
  EXPECT_EQ(Post(port_, "/api/v1/login", "{\"token\":7}").status, 400);
  EXPECT_EQ(Post(port_, "/api/v1/login", "{\"token\":\"view\"}",
                 "Content-Type: text/plain\r\n")
                .status,
            400);
  EXPECT_EQ(Post(port_, "/api/v1/login", std::string(100'000, 'x')).status,
            413);
}

TEST_F(LiveEventsTest, AssetsAreCompressedAndKept) {
  Start();
  const auto page = Get(port_, "/");
  const std::string etag = page.headers.at("etag");
  EXPECT_EQ(Get(port_, "/", "If-None-Match: " + etag + "\r\n").status, 304);
  EXPECT_EQ(page.headers.at("cache-control"), "no-cache");
  EXPECT_THAT(Get(port_, "/app.js?v=1").headers.at("cache-control"),
              HasSubstr("immutable"));
  const auto packed = Get(port_, "/app.js", "Accept-Encoding: br, gzip\r\n");
  if (packed.headers.count("content-encoding") != 0) {  // Not the plain page.
    EXPECT_EQ(packed.headers.at("content-encoding"), "gzip");
    EXPECT_EQ(packed.body.substr(0, 2), "\x1f\x8b");
  }
}

}  // namespace
}  // namespace steadyrun
