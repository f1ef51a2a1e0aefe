// Routes, roles and refusals, over real sockets.

#include "server/web/api_frontend.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/digest.h"
#include "server/web/json_api.h"
#include "server/web/responses.h"
#include "spdlog/fmt/fmt.h"
#include "tests/fakes/service_fakes.h"
#include "tests/unit/web/http_client.h"

namespace steadyrun {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ApiFrontendTest : public ::testing::Test {
 protected:
  void Start(TokenSet tokens = {}) {
    tokens_ = std::move(tokens);
    OperatorBackend backend{&sink_, &live_, &history_, &replies_, &clock_};
    api_ = std::make_unique<OperatorApi>(backend);
    ApiFrontendOptions options;
    options.allowed_hosts = {"Head-Node"};
    options.clock = &clock_;
    options.events = &events_;
    frontend_ = std::make_unique<ApiFrontend>(
        options, api_.get(), &tokens_, [] { return std::string("m 1\n"); });
    HttpServerOptions server_options;
    server_options.address = "127.0.0.1:0";
    server_ = *HttpServer::Start(server_options, frontend_.get());
    port_ = server_->Port();
  }
  void SetUp() override {
    RunView run;
    run.state.spec.run = "gpt";
    run.state.phase = RunPhase::kRunning;
    run.loss = std::numeric_limits<double>::quiet_NaN();
    run.verdict = "<script>alert(1)</script> \"quoted\"";
    EngineView view;
    view.runs = {run};
    live_.Set(view);
    ServiceStatus status;
    status.version = "1.2.3";
    live_.Set(status);
  }
  void AnswerActions() {
    sink_.SetHook([this](const Event& event) {
      if (const auto* action = std::get_if<ActionRequested>(&event)) {
        ReplyToOperator reply;
        reply.reply_to = action->reply_to;
        reply.message = "stopping";
        replies_.Execute(reply);
      }
    });
  }

  static constexpr const char* kAct = "/api/steadyrun.v1.OperatorService/Act";
  static constexpr const char* kStop =
      R"({"request_id":"r1","run":"gpt","action":"ACTION_STOP","reason":"t"})";

  ManualClock clock_;
  RecordingSink sink_;
  SettableLive live_;
  MemoryHistory history_;
  TokenSet tokens_;
  PendingReplies replies_{&clock_, std::chrono::seconds(10)};
  EventHub events_;
  std::unique_ptr<OperatorApi> api_;
  std::unique_ptr<ApiFrontend> frontend_;
  std::unique_ptr<HttpServer> server_;
  int port_ = 0;
};

TEST_F(ApiFrontendTest, EveryRouteAnswers) {
  Start();
  Incident incident;
  incident.run = "gpt";
  incident.number = 1;
  history_.incidents = {incident};
  const std::vector<std::pair<std::string, std::string>> routes = {
      {"/", "<title>Steadyrun</title>"},
      {"/app.js", "textContent"},
      {"/style.css", "prefers-color-scheme"},
      {"/icon.svg", "<svg"},
      {"/healthz", "ok"},
      {"/readyz", "ready"},
      {"/version", "\"version\":\"1.2.3\""},
      {"/metrics", "m 1"},
      {"/api/v1/runs", "\"run\":\"gpt\""},
      {"/api/v1/runs/gpt", "\"phase\":\"running\""},
      {"/api/v1/runs/gpt/incidents", "\"id\":\"gpt:1\""},
      {"/api/v1/runs/gpt/checkpoints", "\"checkpoints\":[]"},
      {"/api/v1/runs/gpt/steps?from=0&to=9&buckets=100", "\"step\":[]"},
      {"/api/v1/runs/gpt/report", "\"ettr\""},
      {"/api/v1/runs/gpt/audit", "\"entries\":[]"},
      {"/api/v1/incidents", "gpt:1"},
      {"/api/v1/incidents?open=1&limit=5", "gpt:1"},
      {"/api/v1/incidents/gpt:1", "\"kind\":\"crash\""},
      {"/api/v1/incidents/gpt%3A1", "\"kind\":\"crash\""},
      {"/api/v1/nodes", "\"nodes\":[]"},
      {"/api/v1/audit", "\"entries\":[]"},
      {"/api/v1/journal?after=3&run=gpt&limit=5", "\"events\":[]"},
      {"/api/v1/sd/agents", "[]"},
  };
  for (const auto& [target, part] : routes) {
    const auto response = Get(port_, target);
    EXPECT_EQ(response.status, 200) << target << response.body;
    EXPECT_THAT(response.body, HasSubstr(part)) << target;
  }
}

TEST_F(ApiFrontendTest, AgentsThatServeMetricsAreListedForPrometheus) {
  Start();
  NodeView with;
  with.state.node = "node-1";
  with.state.metrics_address = "10.0.0.1:7081";
  with.status = "connected";
  NodeView without;
  without.state.node = "node-2";
  EngineView view;
  view.nodes = {with, without};
  live_.Set(view);
  const auto response = Get(port_, "/api/v1/sd/agents");
  EXPECT_EQ(response.headers.at("content-type"), "application/json");
  EXPECT_EQ(response.body,
            "[{\"labels\":{\"__meta_steadyrun_node\":\"node-1\","
            "\"__meta_steadyrun_status\":\"connected\"},"
            "\"targets\":[\"10.0.0.1:7081\"]}]");
}

TEST_F(ApiFrontendTest, ErrorsHaveConnectsShape) {
  Start();
  struct Case {
    std::string target;
    int status;
    std::string part;
  };
  for (const Case& one : std::vector<Case>{
           {"/nothing", 404, "\"code\":\"not_found\""},
           {"/api/v1/", 404, "not_found"},
           {"/api/v1/runs/gpt/nothing", 404, "not_found"},
           {"/api/v1/runs/none", 404, "known runs: gpt"},
           {"/api/v1/runs/%22%3Cb%3E", 400, "invalid_argument"},
           {"/api/v1/runs/gpt/steps?buckets=x", 400, "buckets: found 1 bytes"},
           {"/api/v1/runs/gpt/steps?buckets=999999", 400, "max_buckets"},
           {"/api/v1/incidents?limit=-1", 400, "limit"},
           {"/api/v1/incidents/gpt", 400, "RUN:NUMBER"},
           {"/api/steadyrun.v1.OperatorService/GetRun", 405, "POST"},
       }) {
    const auto response = Get(port_, one.target);
    EXPECT_EQ(response.status, one.status) << one.target;
    EXPECT_THAT(response.body, HasSubstr(one.part)) << one.target;
    EXPECT_EQ(response.headers.at("content-type"), "application/json");
  }
  EXPECT_EQ(Post(port_, "/api/v1/runs", "{}").status, 405);
}

TEST_F(ApiFrontendTest, NanIsAValueAndTextStaysText) {
  Start();
  const auto response = Get(port_, "/api/v1/runs/gpt");
  EXPECT_THAT(response.body, HasSubstr("\"loss\":\"NaN\""));
  EXPECT_THAT(response.body, Not(HasSubstr("<script>")));
  v1::RunView run;
  ASSERT_TRUE(
      google::protobuf::util::JsonStringToMessage(response.body, &run).ok());
  EXPECT_EQ(run.verdict(), "<script>alert(1)</script> \"quoted\"");
}

TEST_F(ApiFrontendTest, MethodsAreCalledByPost) {
  Start();
  AnswerActions();
  const auto runs =
      Post(port_, "/api/steadyrun.v1.OperatorService/ListRuns", "{}");
  EXPECT_THAT(runs.body, HasSubstr("\"run\":\"gpt\""));
  const auto stopped = Post(port_, kAct, kStop);
  EXPECT_EQ(stopped.status, 200) << stopped.body;
  EXPECT_THAT(stopped.body, HasSubstr("\"message\":\"stopping\""));
  EXPECT_EQ(sink_.All<ActionRequested>().at(0).action, OperatorAction::kStop);
}

TEST_F(ApiFrontendTest, EveryMethodOfTheServiceIsServed) {
  Start();
  const auto* service =
      v1::ListRunsRequest::descriptor()->file()->FindServiceByName(
          "OperatorService");
  ASSERT_GT(service->method_count(), 10);
  for (int i = 0; i < service->method_count(); ++i) {
    // A stream has no unary form; browsers have /api/v1/events.
    if (service->method(i)->server_streaming()) continue;
    EXPECT_TRUE(RoleOfMethod(service->method(i)->name()).ok())
        << service->method(i)->name();
  }
}

TEST_F(ApiFrontendTest, BadBodiesAreRefused) {
  Start();
  struct Case {
    std::string body;
    std::string part;
  };
  for (const Case& one : std::vector<Case>{
           {"{", "no JSON"},
           {"[]", "no JSON"},
           {R"({"rum":"gpt"})", "rum"},
           {R"({"run":5})", "no JSON"},
           {R"({"action":"ACTION_EXPLODE"})", "ACTION_EXPLODE"},
           {std::string(20'000, '{'), "no JSON"},
           {"", "request_id"},
       }) {
    const auto response = Post(port_, kAct, one.body);
    EXPECT_EQ(response.status, 400) << one.body.substr(0, 40);
    EXPECT_THAT(response.body, HasSubstr(one.part));
  }
  EXPECT_EQ(
      Post(port_, "/api/steadyrun.v1.OperatorService/Explode", "{}").status,
      404);
}

TEST_F(ApiFrontendTest, OnlyOurOwnPageAndToolsMayAct) {
  Start();
  AnswerActions();
  const std::string json = "Content-Type: application/json\r\n";
  const std::string ours = "X-Steadyrun-Request: 1\r\n";
  struct Case {
    std::string headers;
    int status;
  };
  for (const Case& one : std::vector<Case>{
           {json, 403},
           {ours, 400},
           {"Content-Type: text/plain\r\n" + ours, 400},
           {"Content-Type: application/x-www-form-urlencoded\r\n" + ours, 400},
           {json + "X-Steadyrun-Request: 2\r\n", 403},
           {json + ours + "Origin: http://evil.example\r\n", 403},
           {json + ours + "Origin: null\r\n", 403},
           {json + ours + "Sec-Fetch-Site: cross-site\r\n", 403},
           {json + ours + "Sec-Fetch-Site: same-site\r\n", 403},
           {json + ours + "Sec-Fetch-Site: same-origin\r\n", 200},
           {json + ours + "Origin: http://127.0.0.1\r\n", 200},
           {"Content-Type: application/json; charset=utf-8\r\n" + ours, 200},
       }) {
    EXPECT_EQ(Post(port_, kAct, kStop, one.headers).status, one.status)
        << one.headers;
  }
  EXPECT_EQ(sink_.All<ActionRequested>().size(), 3u);
}

TEST_F(ApiFrontendTest, OnlyKnownHostsAreServed) {
  Start();
  const auto status_of = [this](const std::string& host) {
    HttpClient client(port_);
    client.Send("GET /api/v1/runs HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
    return client.Read().status;
  };
  for (const char* good :
       {"127.0.0.1", "127.0.0.1:7080", "[::1]:7080", "localhost:1", "10.1.2.3",
        "head-node:7080", "HEAD-NODE"}) {
    EXPECT_EQ(status_of(good), 200) << good;
  }
  for (const char* bad : {"evil.example", "localhost.evil.example",
                          "127.0.0.1.evil.example", ""}) {
    EXPECT_EQ(status_of(bad), 403) << bad;
  }
}

TEST_F(ApiFrontendTest, TokensGuardDataAndActionsByRole) {
  Start(*TokenSet::Parse(
      fmt::format("viewer {}\noperator {} ada\nagent {}\n", Sha256Hex("v"),
                  Sha256Hex("o"), Sha256Hex("a")),
      "tokens"));
  AnswerActions();
  for (const char* open : {"/", "/app.js", "/healthz", "/readyz"}) {
    EXPECT_EQ(Get(port_, open).status, 200) << open;
  }
  for (const char* closed : {"/metrics", "/version", "/api/v1/runs"}) {
    EXPECT_EQ(Get(port_, closed).status, 401) << closed;
    EXPECT_EQ(Get(port_, closed, "Authorization: Bearer x\r\n").status, 401);
    EXPECT_EQ(Get(port_, closed, "Authorization: Bearer a\r\n").status, 403);
    EXPECT_EQ(Get(port_, closed, "Authorization: Bearer v\r\n").status, 200);
    EXPECT_EQ(Get(port_, closed, "Authorization: Bearer o\r\n").status, 200);
  }
  const std::string headers =
      "Content-Type: application/json\r\nX-Steadyrun-Request: 1\r\n";
  EXPECT_EQ(Post(port_, kAct, kStop, headers).status, 401);
  EXPECT_EQ(
      Post(port_, kAct, kStop, headers + "Authorization: Bearer v\r\n").status,
      403);
  EXPECT_EQ(
      Post(port_, kAct, kStop, headers + "Authorization: Bearer o\r\n").status,
      200);
  ASSERT_EQ(sink_.All<ActionRequested>().size(), 1u);
  EXPECT_EQ(sink_.All<ActionRequested>()[0].actor, "ada");
}

TEST_F(ApiFrontendTest, WrongTokensAreSlowedAndTheRightOneWorksAfterTheWait) {
  Start(*TokenSet::Parse(fmt::format("viewer {}\n", Sha256Hex("v")), "tokens"));
  const auto get = [this](const std::string& token) {
    return Get(port_, "/api/v1/runs",
               "Authorization: Bearer " + token + "\r\n");
  };
  const auto log_in = [this](const std::string& token) {
    return Post(port_, "/api/v1/login", "{\"token\":\"" + token + "\"}");
  };
  const std::string set = log_in("v").headers.at("set-cookie");
  const std::string cookie = "Cookie: " + set.substr(0, set.find(';')) + "\r\n";

  // Both ways in count together.
  for (int i = 0; i < WrongTokenLimit::kTries / 2; ++i) {
    EXPECT_EQ(get(fmt::format("w{}", i)).status, 401);
    EXPECT_EQ(log_in(fmt::format("x{}", i)).status, 401);
  }
  for (const auto& refused : {get("v"), log_in("v"), get("w"), log_in("w")}) {
    EXPECT_EQ(refused.status, 429);
    EXPECT_EQ(refused.headers.at("retry-after"), "5");
    EXPECT_THAT(refused.body, HasSubstr("resource_exhausted"));
    EXPECT_THAT(refused.body, HasSubstr("too many wrong tokens"));
  }
  EXPECT_EQ(frontend_->WrongTokens().wrong, 10u);
  EXPECT_EQ(frontend_->WrongTokens().refused, 4u);
  EXPECT_EQ(frontend_->WrongTokens().addresses, 1u);
  // Who is in stays in, and what is open stays open.
  EXPECT_EQ(Get(port_, "/api/v1/runs", cookie).status, 200);
  EXPECT_EQ(Get(port_, "/healthz").status, 200);
  EXPECT_EQ(Get(port_, "/api/v1/runs").status, 401);

  clock_.Advance(std::chrono::milliseconds(4200));
  EXPECT_EQ(get("v").headers.at("retry-after"), "1");
  clock_.Advance(std::chrono::milliseconds(800));
  EXPECT_EQ(get("v").status, 200);
  EXPECT_EQ(log_in("v").status, 200);
}

TEST_F(ApiFrontendTest, ReadinessFollowsTheStoreAndTheEngine) {
  Start();
  ServiceStatus status;
  status.storage_ok = false;
  status.storage_error = "disk full";
  live_.Set(status);
  EXPECT_EQ(Get(port_, "/readyz").status, 503);
  EXPECT_THAT(Get(port_, "/readyz").body, HasSubstr("disk full"));
  EXPECT_EQ(Get(port_, "/healthz").status, 200);
  status = ServiceStatus();
  status.tick_age = std::chrono::seconds(3);
  live_.Set(status);
  EXPECT_THAT(Get(port_, "/readyz").body, HasSubstr("not ticked for 3.0 s"));
}

TEST_F(ApiFrontendTest, ThePageAsksNobodyElse) {
  Start();
  for (const char* part : {"/", "/app.js", "/style.css"}) {
    std::string body = Get(port_, part).body;
    // The name space of SVG is a name, not an address that is asked.
    for (const std::string name :
         {"http://www.w3.org/2000/svg", "http://www.w3.org/1998/Math/MathML",
          "http://www.w3.org/1999/xhtml", "http://www.w3.org/1999/xlink"}) {
      for (auto at = body.find(name); at != std::string::npos;
           at = body.find(name)) {
        body.erase(at, name.size());
      }
    }
    EXPECT_THAT(body, Not(HasSubstr("http://"))) << part;
    EXPECT_THAT(body, Not(HasSubstr("https://"))) << part;
    EXPECT_THAT(body, Not(HasSubstr(" style="))) << part;
    EXPECT_THAT(body, Not(HasSubstr(" onclick="))) << part;
  }
}

TEST(ErrorResponseTest, EveryCodeHasConnectsNameAndStatus) {
  const std::vector<std::pair<absl::StatusCode, std::pair<int, std::string>>>
      codes = {
          {absl::StatusCode::kCancelled, {499, "canceled"}},
          {absl::StatusCode::kUnknown, {500, "unknown"}},
          {absl::StatusCode::kInvalidArgument, {400, "invalid_argument"}},
          {absl::StatusCode::kDeadlineExceeded, {504, "deadline_exceeded"}},
          {absl::StatusCode::kNotFound, {404, "not_found"}},
          {absl::StatusCode::kAlreadyExists, {409, "already_exists"}},
          {absl::StatusCode::kPermissionDenied, {403, "permission_denied"}},
          {absl::StatusCode::kResourceExhausted, {429, "resource_exhausted"}},
          {absl::StatusCode::kFailedPrecondition, {400, "failed_precondition"}},
          {absl::StatusCode::kAborted, {409, "aborted"}},
          {absl::StatusCode::kOutOfRange, {400, "out_of_range"}},
          {absl::StatusCode::kUnimplemented, {501, "unimplemented"}},
          {absl::StatusCode::kInternal, {500, "internal"}},
          {absl::StatusCode::kUnavailable, {503, "unavailable"}},
          {absl::StatusCode::kDataLoss, {500, "data_loss"}},
          {absl::StatusCode::kUnauthenticated, {401, "unauthenticated"}},
      };
  for (const auto& [code, expected] : codes) {
    const HttpResponse response =
        ErrorResponse(absl::Status(code, "a \"b\"\n<c>"));
    EXPECT_EQ(response.status, expected.first);
    EXPECT_EQ(response.body, "{\"code\":\"" + expected.second +
                                 "\",\"message\":\"a \\\"b\\\"\\u000a"
                                 "\\u003cc\\u003e\"}\n");
  }
}

}  // namespace
}  // namespace steadyrun
