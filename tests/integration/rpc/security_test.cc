// Tokens, certificates and what may listen where.

#include "base/digest.h"
#include "base/file.h"
#include "spdlog/fmt/fmt.h"
#include "tests/fakes/test_certificates.h"
#include "tests/integration/rpc/fixture.h"

namespace steadyrun {
namespace {

using ::testing::HasSubstr;

TokenSet TestTokens() {
  const std::string text = fmt::format(
      "# role sha256 name\nagent {}\n\nviewer {}\noperator {} ada\n"
      "agent {} n7\n",
      Sha256Hex("agent-token"), Sha256Hex("viewer-token"),
      Sha256Hex("operator-token"), Sha256Hex("token-of-n7"));
  return *TokenSet::Parse(text, "tokens");
}

class TokenTest : public RpcTest {
 protected:
  grpc::Status ListRuns(const std::string& token) {
    grpc::ClientContext context;
    if (!token.empty()) context.AddMetadata("authorization", token);
    v1::ListRunsReply reply;
    return v1::OperatorService::NewStub(Channel())->ListRuns(&context, {},
                                                             &reply);
  }
  grpc::Status Stop(const std::string& token) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + token);
    v1::ActionRequest request;
    request.set_request_id("r1");
    request.set_run("gpt");
    request.set_action(v1::ACTION_STOP);
    request.set_reason("test");
    request.set_actor("somebody");
    v1::ActionReply reply;
    return v1::OperatorService::NewStub(Channel())->Act(&context, request,
                                                        &reply);
  }
};

TEST_F(TokenTest, AgentsNeedAnAgentsToken) {
  StartServer(TestTokens());
  struct Case {
    std::string in_hello;
    std::string in_metadata;
    grpc::StatusCode code;
  };
  const std::vector<Case> cases = {
      {"", "", grpc::StatusCode::UNAUTHENTICATED},
      {"wrong", "", grpc::StatusCode::UNAUTHENTICATED},
      {"", "wrong", grpc::StatusCode::UNAUTHENTICATED},
      {"viewer-token", "", grpc::StatusCode::PERMISSION_DENIED},
      {"operator-token", "", grpc::StatusCode::PERMISSION_DENIED},
      {"agent-token", "", grpc::StatusCode::OK},
      {"", "agent-token", grpc::StatusCode::OK},
  };
  std::size_t accepted = 0;
  for (const Case& one : cases) {
    TestAgent agent(Channel(), one.in_metadata);
    ASSERT_TRUE(agent.Write(HelloOf("n1", one.in_hello)));
    agent.HangUp();
    EXPECT_EQ(agent.End().error_code(), one.code)
        << one.in_hello << "/" << one.in_metadata;
    accepted += one.code == grpc::StatusCode::OK ? 1 : 0;
  }
  ASSERT_TRUE(sink_.WaitFor<AgentConnected>(accepted));
  const auto connected = sink_.All<AgentConnected>();
  ASSERT_EQ(connected.size(), accepted);
  for (const auto& one : connected) EXPECT_EQ(one.hello.token, "");
}

TEST_F(TokenTest, ATokenOfOneNodeDoesNotSpeakForAnother) {
  StartServer(TestTokens());
  TestAgent other(Channel(), "token-of-n7");
  ASSERT_TRUE(other.Write(HelloOf("n1")));
  const grpc::Status status = other.End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(status.error_message(), HasSubstr("for node 'n7'"));
  TestAgent own(Channel(), "token-of-n7");
  ASSERT_TRUE(own.Write(HelloOf("n7")));
  ASSERT_TRUE(sink_.WaitFor<AgentConnected>(1));
  EXPECT_EQ(sink_.All<AgentConnected>()[0].hello.state.node, "n7");
}

TEST_F(TokenTest, RolesAllowWhatTheySay) {
  StartServer(TestTokens());
  sink_.SetHook([this](const Event& event) {
    if (const auto* action = std::get_if<ActionRequested>(&event)) {
      ReplyToOperator reply;
      reply.reply_to = action->reply_to;
      replies_.Execute(reply);
    }
  });
  EXPECT_EQ(ListRuns("").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(ListRuns("Basic abc").error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(ListRuns("Bearer viewer-token").ok());
  EXPECT_TRUE(ListRuns("Bearer operator-token").ok());
  EXPECT_EQ(ListRuns("Bearer agent-token").error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  const grpc::Status refused = Stop("viewer-token");
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(refused.error_message(), HasSubstr("role operator"));
  EXPECT_TRUE(sink_.All<ActionRequested>().empty());
  EXPECT_TRUE(Stop("operator-token").ok());
  ASSERT_EQ(sink_.All<ActionRequested>().size(), 1u);
  EXPECT_EQ(sink_.All<ActionRequested>()[0].actor, "ada (somebody)");
}

TEST(TokenSetTest, BadFilesAreRefusedWithTheLine) {
  const std::string digest = Sha256Hex("x");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "holds no token"},
      {"# only a comment\n", "holds no token"},
      {"root " + digest, "tokens:1: the first word is no role"},
      {"\nviewer abc\n", "tokens:2: the second word is no SHA-256"},
      {"viewer\n", "tokens:1: the second word"},
      {"viewer " + digest + " a b\n", "tokens:1: more than three words"},
  };
  for (const auto& [text, error] : cases) {
    const auto set = TokenSet::Parse(text, "tokens");
    ASSERT_FALSE(set.ok()) << text;
    EXPECT_THAT(std::string(set.status().message()), HasSubstr(error));
  }
}

TEST(ExposureTest, BeyondLoopbackNeedsTlsAndTokensOrInsecure) {
  struct Case {
    const char* address;
    bool tls, tokens, insecure, ok;
  };
  for (const Case& one : std::vector<Case>{
           {"127.0.0.1:1", false, false, false, true},
           {"127.8.8.8:1", false, false, false, true},
           {"[::1]:1", false, false, false, true},
           {"localhost:1", false, false, false, true},
           {"0.0.0.0:1", false, false, false, false},
           {"[::]:1", false, true, false, false},
           {"10.0.0.1:1", true, false, false, false},
           {"10.0.0.1:1", true, true, false, true},
           {"10.0.0.1:1", false, false, true, true},
           {"1270.0.0.1:1", false, false, false, false},
       }) {
    EXPECT_EQ(
        CheckExposure("gRPC", one.address, one.tls, one.tokens, one.insecure)
            .ok(),
        one.ok)
        << one.address;
  }
}

TEST(HostPortTest, OnlyHostsWithPorts) {
  EXPECT_EQ(ParseHostPort("[::1]:70")->host, "::1");
  EXPECT_EQ(ParseHostPort("node-1:0")->port, 0);
  for (const char* bad : {"", ":1", "a", "a:", "a:x", "a:65536", "a:-1", "::1",
                          "[::1]", "[]:1", "a: 1"}) {
    EXPECT_FALSE(ParseHostPort(bad).ok()) << bad;
  }
}

TEST(GrpcServerTest, SaysWhyItCannotListen) {
  GrpcServerOptions options;
  options.address = "127.0.0.1:0";
  const auto first = GrpcServer::Start(options, {});
  ASSERT_TRUE(first.ok()) << first.status();
  options.address = (*first)->Address();
  const auto second = GrpcServer::Start(options, {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr("Address already in use"));
  options.address = "0.0.0.0:0";
  EXPECT_EQ(GrpcServer::Start(options, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

// A CA, a server's and a client's certificate, made by openssl.
class TlsTest : public RpcTest {
 protected:
  void SetUp() override {
    ASSERT_TRUE(certificates_.IsMade()) << certificates_.Log();
  }
  std::string Path(const std::string& name) const {
    return certificates_.Path(name);
  }
  std::shared_ptr<grpc::Channel> TlsChannel(bool with_client_cert) const {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = *ReadFile(Path("ca.crt"));
    if (with_client_cert) {
      options.pem_cert_chain = *ReadFile(Path("client.crt"));
      options.pem_private_key = *ReadFile(Path("client.key"));
    }
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(Address(), grpc::SslCredentials(options),
                                     arguments);
  }
  grpc::StatusCode Try(const std::shared_ptr<grpc::Channel>& channel) {
    TestAgent agent(channel);
    agent.Write(HelloOf("n1"));
    agent.HangUp();
    return agent.End().error_code();
  }

  TestCertificates certificates_;
};

TEST_F(TlsTest, OnlyEncryptedCallersGetThrough) {
  StartServer({}, {Path("server.crt"), Path("server.key"), ""});
  EXPECT_EQ(Try(TlsChannel(false)), grpc::StatusCode::OK);
  EXPECT_EQ(Try(Channel()), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, WithAClientCaACertificateIsNeeded) {
  StartServer({}, {Path("server.crt"), Path("server.key"), Path("ca.crt")});
  EXPECT_EQ(Try(TlsChannel(true)), grpc::StatusCode::OK);
  EXPECT_EQ(Try(TlsChannel(false)), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, BadFilesAreNamed) {
  const auto error = [](const TlsFiles& files) {
    return std::string(MakeServerCredentials(files).status().message());
  };
  EXPECT_THAT(error({Path("none"), Path("server.key"), ""}), HasSubstr("none"));
  EXPECT_THAT(error({Path("server.key"), Path("server.key"), ""}),
              HasSubstr("TLS certificate"));
  EXPECT_THAT(error({Path("server.crt"), Path("server.crt"), ""}),
              HasSubstr("TLS key"));
  EXPECT_THAT(error({"", Path("server.key"), ""}), HasSubstr("no certificate"));
}

}  // namespace
}  // namespace steadyrun
