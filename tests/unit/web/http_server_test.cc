// The limits of the HTTP server, with sockets that misbehave.

#include "server/web/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "base/file.h"
#include "tests/fakes/test_certificates.h"
#include "tests/unit/web/http_client.h"

namespace steadyrun {
namespace {

using ::testing::HasSubstr;

// Answers with what it was asked; "/wait" only when released.
class EchoFrontend final : public HttpFrontend {
 public:
  std::size_t MaxBody(const std::string&,
                      const std::string& path) const override {
    return path == "/large" ? 256 << 10 : 64 << 10;
  }
  void Handle(const HttpRequest& request, Respond respond) override {
    HttpResponse response;
    if (request.path == "/throw") throw std::runtime_error("of a library");
    if (request.path == "/big") {
      response.body = std::string(64 << 20, 'x');
    } else if (request.path == "/later") {
      std::thread([respond] { respond(HttpResponse{}); }).detach();
      return;
    } else {
      response.body = request.method + " " + request.path + " " +
                      std::to_string(request.body.size());
    }
    respond(std::move(response));
  }
};

class HttpServerTest : public ::testing::Test {
 protected:
  void Start(HttpServerOptions options) {
    options.address = "127.0.0.1:0";
    auto server = HttpServer::Start(options, &frontend_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    port_ = server_->Port();
  }
  void SetUp() override { Start({}); }

  EchoFrontend frontend_;
  std::unique_ptr<HttpServer> server_;
  int port_ = 0;
};

TEST_F(HttpServerTest, OneConnectionServesManyRequestsAlsoPipelined) {
  HttpClient client(port_);
  for (int i = 0; i < 3; ++i) {
    client.Send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_EQ(client.Read().body, "GET /a 0");
  }
  client.Send(
      "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"
      "POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
      "GET /3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(client.Read().body, "GET /1 0");
  EXPECT_EQ(client.Read().body, "POST /2 3");
  EXPECT_EQ(client.Read().body, "GET /3 0");
  EXPECT_TRUE(client.IsClosedWithin(5));
}

TEST_F(HttpServerTest, HeadHasTheLengthWithoutTheBody) {
  HttpClient client(port_);
  client.Send("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n");
  const auto response = client.Read(/*is_head=*/true);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.at("content-length"), "9");
  client.Send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(client.Read().body, "GET /a 0");
}

TEST_F(HttpServerTest, EveryAnswerForbidsFramesScriptsAndSniffing) {
  for (const char* target : {"/a", "/../x"}) {
    const auto headers = Get(port_, target).headers;
    EXPECT_THAT(headers.at("content-security-policy"),
                HasSubstr("default-src 'none'"));
    EXPECT_THAT(headers.at("content-security-policy"),
                HasSubstr("frame-ancestors 'none'"));
    EXPECT_EQ(headers.at("x-content-type-options"), "nosniff");
    EXPECT_EQ(headers.count("access-control-allow-origin"), 0u);
  }
}

struct BadRequest {
  const char* name;
  std::string bytes;
  int status;
};

TEST_F(HttpServerTest, BadRequestsGetTheirStatusAndTheConnectionEnds) {
  const std::string host = "Host: h\r\n";
  const std::vector<BadRequest> cases = {
      {"no HTTP", "hello\r\n\r\n", 400},
      {"TLS",
       std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 15),
       400},
      {"version", "GET / HTTP/3.0\r\n" + host + "\r\n", 400},
      {"no host", "GET / HTTP/1.1\r\n\r\n", 400},
      {"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"absolute target", "GET http://h/ HTTP/1.1\r\n" + host + "\r\n", 400},
      {"dot segments", "GET /a/../b HTTP/1.1\r\n" + host + "\r\n", 400},
      {"hidden dots", "GET /a/%2e%2e/b HTTP/1.1\r\n" + host + "\r\n", 400},
      {"hidden NUL", "GET /a%00 HTTP/1.1\r\n" + host + "\r\n", 400},
      {"broken escape", "GET /%zz HTTP/1.1\r\n" + host + "\r\n", 400},
      {"blank in name", "GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400},
      {"length", "POST / HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n",
       400},
      {"two lengths",
       "POST / HTTP/1.1\r\n" + host +
           "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
       400},
      {"both lengths",
       "POST / HTTP/1.1\r\n" + host +
           "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na",
       400},
      {"bad chunk",
       "POST / HTTP/1.1\r\n" + host +
           "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
       400},
      {"range", "GET /a HTTP/1.1\r\n" + host + "Range: bytes=0-1\r\n\r\n", 416},
      {"large line",
       "GET /" + std::string(20'000, 'a') + " HTTP/1.1\r\n" + host + "\r\n",
       431},
      {"large header",
       "GET / HTTP/1.1\r\n" + host + "X: " + std::string(20'000, 'a') +
           "\r\n\r\n",
       431},
      {"large body",
       "POST / HTTP/1.1\r\n" + host + "Content-Length: 65537\r\n\r\n", 413},
      {"huge length",
       "POST / HTTP/1.1\r\n" + host + "Content-Length: 99999999999999\r\n\r\n",
       413},
  };
  for (const BadRequest& one : cases) {
    SCOPED_TRACE(one.name);
    HttpClient client(port_);
    client.Send(one.bytes);
    EXPECT_EQ(client.Read().status, one.status);
    EXPECT_TRUE(client.IsClosedWithin(5));
  }
  EXPECT_EQ(Get(port_, "/a").status, 200);
}

TEST_F(HttpServerTest, AChunkedBodyCannotPassTheLimit) {
  HttpClient client(port_);
  client.Send(
      "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string chunk = "4000\r\n" + std::string(0x4000, 'x') + "\r\n";
  bool is_open = true;
  for (int i = 0; i < 100 && is_open; ++i) is_open = client.Send(chunk);
  EXPECT_EQ(client.Read().status, 413);
}

TEST_F(HttpServerTest, TheRouteSaysHowMuchBodyItTakes) {
  EXPECT_EQ(Post(port_, "/large", std::string(200'000, 'x')).body,
            "POST /large 200000");
  EXPECT_EQ(Post(port_, "/x", std::string(64 << 10, 'x')).body,
            "POST /x 65536");
}

TEST_F(HttpServerTest, ExpectContinueIsAnswered) {
  HttpClient client(port_);
  client.Send(
      "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n"
      "Expect: 100-continue\r\n\r\n");
  client.Send("abc");
  EXPECT_EQ(client.Read().body, "POST /x 3");
}

TEST_F(HttpServerTest, AHandlerMayAnswerLaterAndMayThrow) {
  EXPECT_EQ(Get(port_, "/later").status, 200);
  EXPECT_EQ(Get(port_, "/throw").status, 0);  // The connection ends.
  EXPECT_EQ(Get(port_, "/a").status, 200);
}

TEST(HttpServerLimitsTest, ASlowRequestIsCutAlsoWhenBytesKeepComing) {
  EchoFrontend frontend;
  HttpServerOptions options;
  options.address = "127.0.0.1:0";
  options.read_timeout = std::chrono::milliseconds(400);
  const auto server = *HttpServer::Start(options, &frontend);
  HttpClient loris(server->Port());
  HttpClient silent(server->Port());
  HttpClient half_body(server->Port());
  half_body.Send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab");
  const std::string request =
      "GET /a HTTP/1.1\r\nHost: h\r\nX: " + std::string(2000, 'a') + "\r\n\r\n";
  int sent = 0;
  // A byte every 5 ms would take 10 s; the wait is for the answer.
  pollfd answered{loris.fd(), POLLIN, 0};
  while (sent < 2000 && loris.Send(request.substr(sent, 1)) &&
         ::poll(&answered, 1, 5) == 0) {
    ++sent;
  }
  EXPECT_LT(sent, 1000);
  EXPECT_TRUE(silent.IsClosedWithin(5));
  for (HttpClient* slow : {&loris, &half_body}) {
    const auto refused = slow->Read();
    EXPECT_EQ(refused.status, 408);
    EXPECT_THAT(refused.body, HasSubstr("had not arrived after 0.4 s"));
    EXPECT_TRUE(slow->IsClosedWithin(5));
  }
  EXPECT_EQ(Get(server->Port(), "/a").status, 200);
}

TEST(HttpServerLimitsTest, TheDeadlineIsOfEachRequestAnew) {
  EchoFrontend frontend;
  HttpServerOptions options;
  options.address = "127.0.0.1:0";
  options.read_timeout = std::chrono::milliseconds(300);
  const auto server = *HttpServer::Start(options, &frontend);
  HttpClient client(server->Port());
  // Some seconds of requests, each in two parts, over one connection.
  const MonoTime begin = SystemClock().MonoNow();
  while (SystemClock().MonoNow() - begin < std::chrono::seconds(1)) {
    client.Send("GET /a HTTP/1.1\r\n");
    client.Send("Host: h\r\n\r\n");
    ASSERT_EQ(client.Read().body, "GET /a 0");
  }
}

// Its FIN says only that no more requests come.
TEST(HttpServerLimitsTest, WhoHasEndedItsSideStillGetsItsAnswers) {
  EchoFrontend frontend;
  HttpServerOptions options;
  options.address = "127.0.0.1:0";
  const auto server = *HttpServer::Start(options, &frontend);
  HttpClient client(server->Port());
  client.Send(
      "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
      "GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
  ::shutdown(client.fd(), SHUT_WR);
  EXPECT_EQ(client.Read().body, "GET /a 0");
  EXPECT_EQ(client.Read().body, "GET /b 0");
  EXPECT_TRUE(client.IsClosedWithin(5));
}

TEST(HttpServerLimitsTest, ClientsThatVanishInTheMiddleLeaveTheirPlaces) {
  EchoFrontend frontend;
  HttpServerOptions options;
  options.address = "127.0.0.1:0";
  options.max_connections = 2;
  const auto server = *HttpServer::Start(options, &frontend);
  for (const char* part :
       {"", "GET /a HT", "GET /a HTTP/1.1\r\nHost: h\r\n",
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab",
        "GET /big HTTP/1.1\r\nHost: h\r\n\r\n"}) {
    for (const bool with_reset : {false, true}) {
      for (int i = 0; i < 3; ++i) {
        HttpClient client(server->Port());
        client.Send(part);
        const linger reset{1, 0};
        if (with_reset) {
          ::setsockopt(client.fd(), SOL_SOCKET, SO_LINGER, &reset,
                       sizeof(reset));
        }
      }
      // Before any deadline could have freed them.
      int status = 503;
      for (int i = 0; i < 10'000 && status != 200; ++i) {
        status = Get(server->Port(), "/a").status;
      }
      EXPECT_EQ(status, 200) << part << with_reset;
    }
  }
}

TEST(HttpServerLimitsTest, AReaderThatStopsIsCut) {
  EchoFrontend frontend;
  HttpServerOptions options;
  options.address = "127.0.0.1:0";
  options.write_timeout = std::chrono::milliseconds(300);
  options.max_connections = 1;
  const auto server = *HttpServer::Start(options, &frontend);
  HttpClient client(server->Port());
  client.Send("GET /big HTTP/1.1\r\nHost: h\r\n\r\n");
  // It holds the only place until it is cut.
  int status = 503;
  for (int i = 0; i < 100'000 && status != 200; ++i) {
    status = Get(server->Port(), "/a").status;
  }
  EXPECT_EQ(status, 200);
  EXPECT_LT(client.ReadAll(2).size(), std::size_t{64} << 20);
}

TEST(HttpServerLimitsTest, ANewcomerTakesThePlaceOfTheLongestIdle) {
  EchoFrontend frontend;
  HttpServerOptions options;
  options.address = "127.0.0.1:0";
  options.max_connections = 4;
  const auto server = *HttpServer::Start(options, &frontend);
  std::vector<std::unique_ptr<HttpClient>> idle;
  for (int i = 0; i < 4; ++i) {
    idle.push_back(std::make_unique<HttpClient>(server->Port()));
    idle.back()->Send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_EQ(idle.back()->Read().status, 200);
  }
  EXPECT_EQ(Get(server->Port(), "/a").status, 200);
  EXPECT_TRUE(idle[0]->IsClosedWithin(5));
  idle[3]->Send("GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(idle[3]->Read().body, "GET /b 0");
}

TEST(HttpServerLimitsTest, WithAllConnectionsBusyANewcomerGets503) {
  EchoFrontend frontend;
  HttpServerOptions options;
  options.address = "127.0.0.1:0";
  options.max_connections = 2;
  const auto server = *HttpServer::Start(options, &frontend);
  HttpClient first(server->Port());
  HttpClient second(server->Port());
  // Both are in the middle of a request: "100 Continue" tells they are read.
  for (HttpClient* busy : {&first, &second}) {
    busy->Send(
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n"
        "Expect: 100-continue\r\n\r\n");
    char bytes[25];
    ASSERT_EQ(::recv(busy->fd(), bytes, sizeof(bytes), MSG_WAITALL), 25);
  }
  HttpClient third(server->Port());
  const auto refused = third.Read();
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.body, HasSubstr("all connections are busy"));
  EXPECT_EQ(refused.headers.at("retry-after"), "5");
  first.Send("abc");
  EXPECT_EQ(first.Read().status, 200);
}

TEST(HttpServerStartTest, RefusesABusyPortAndAnOpenAddress) {
  EchoFrontend frontend;
  HttpServerOptions options;
  options.address = "127.0.0.1:0";
  const auto first = *HttpServer::Start(options, &frontend);
  options.address = first->Address();
  EXPECT_THAT(
      std::string(HttpServer::Start(options, &frontend).status().message()),
      HasSubstr("Address already in use"));
  options.address = "0.0.0.0:0";
  EXPECT_EQ(HttpServer::Start(options, &frontend).status().code(),
            absl::StatusCode::kFailedPrecondition);
  options.address = "nonsense";
  EXPECT_EQ(HttpServer::Start(options, &frontend).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// With curl, which knows TLS; the bytes of a plain client get no answer.
TEST(HttpServerTlsTest, OnlyEncryptedClientsAreServed) {
  const TestCertificates certificates;
  ASSERT_TRUE(certificates.IsMade()) << certificates.Log();
  EchoFrontend frontend;
  HttpServerOptions options;
  options.address = "127.0.0.1:0";
  options.tls = {certificates.Path("server.crt"),
                 certificates.Path("server.key"), ""};
  const auto server = HttpServer::Start(options, &frontend);
  ASSERT_TRUE(server.ok()) << server.status();
  // Two requests over one connection; the second overwrites the body.
  const std::string get = " --output '" + certificates.Path("body") +
                          "' https://" + (*server)->Address();
  ASSERT_EQ(
      std::system(("curl --silent --show-error --max-time 20 --cacert '" +
                   certificates.Path("ca.crt") + "'" + get + "/a" + get + "/b")
                      .c_str()),
      0);
  EXPECT_EQ(*ReadFile(certificates.Path("body")), "GET /b 0");
  HttpClient plain((*server)->Port());
  plain.Send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(plain.Read().status, 0);

  options.tls.key = certificates.Path("client.key");
  EXPECT_THAT(
      std::string(HttpServer::Start(options, &frontend).status().message()),
      HasSubstr("TLS key"));
  options.tls.certificate = certificates.Path("none");
  EXPECT_THAT(
      std::string(HttpServer::Start(options, &frontend).status().message()),
      HasSubstr("TLS certificate"));
}

TEST(HttpServerStartTest, StopsWithConnectionsOpen) {
  EchoFrontend frontend;
  HttpServerOptions options;
  options.address = "127.0.0.1:0";
  auto server = *HttpServer::Start(options, &frontend);
  HttpClient idle(server->Port());
  HttpClient busy(server->Port());
  busy.Send("POST /x HTTP/1.1\r\nHost: h\r\n");
  EXPECT_EQ(Get(server->Port(), "/a").status, 200);
  server.reset();
  EXPECT_TRUE(idle.IsClosedWithin(5));
  EXPECT_TRUE(busy.IsClosedWithin(5));
}

}  // namespace
}  // namespace steadyrun
