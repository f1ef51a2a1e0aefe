#include "tests/integration/rpc/fixture.h"

#include <chrono>

namespace steadyrun {

void RpcTest::StartServer(TokenSet tokens, TlsFiles tls) {
  tokens_ = std::move(tokens);
  endpoint_ = std::make_unique<AgentEndpoint>(
      AgentServiceBackend{&sink_, &registry_, &tokens_, &clock_});
  OperatorBackend backend{&sink_, &live_, &history_, &replies_, &clock_};
  api_ = std::make_unique<OperatorApi>(backend);
  operator_service_ = MakeOperatorService(api_.get(), &tokens_, watch_);
  GrpcServerOptions options;
  options.address = "127.0.0.1:0";
  options.tls = std::move(tls);
  options.has_tokens = tokens_.IsRequired();
  auto server = GrpcServer::Start(
      options, {endpoint_->Service(), operator_service_.get()});
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  ASSERT_GT(server_->Port(), 0);
}

void RpcTest::TearDown() {
  replies_.Close();
  registry_.CloseAll(absl::UnavailableError("end of the test"));
  if (server_ != nullptr) server_->Stop();
  EXPECT_EQ(registry_.Size(), 0u);
}

std::shared_ptr<grpc::Channel> RpcTest::Channel() const {
  grpc::ChannelArguments arguments;
  // A connection of its own for each caller, as from another machine.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(
      Address(), grpc::InsecureChannelCredentials(), arguments);
}

TestAgent::TestAgent(const std::shared_ptr<grpc::Channel>& channel,
                     const std::string& bearer)
    : stub_(v1::AgentService::NewStub(channel)) {
  context_.set_deadline(std::chrono::system_clock::now() +
                        std::chrono::seconds(30));
  if (!bearer.empty()) {
    context_.AddMetadata("authorization", "Bearer " + bearer);
  }
  stream_ = stub_->Connect(&context_);
}

TestAgent::~TestAgent() {
  if (ended_) return;
  context_.TryCancel();
  End();
}

std::optional<v1::ServerMessage> TestAgent::Read() {
  v1::ServerMessage message;
  if (!stream_->Read(&message)) return std::nullopt;
  return message;
}

grpc::Status TestAgent::End() {
  while (Read().has_value()) {
  }
  ended_ = true;
  return stream_->Finish();
}

namespace {

void FillNode(const std::string& node, v1::NodeState* state) {
  state->set_node(node);
  state->set_boot_id("boot-of-" + node);
  state->set_agent_incarnation(7);
  state->set_address("127.0.0.1");
  state->set_rendezvous_port(29500);
}

}  // namespace

v1::AgentMessage HelloOf(const std::string& node, const std::string& token) {
  v1::AgentMessage message;
  FillNode(node, message.mutable_hello()->mutable_state());
  message.mutable_hello()->set_protocol_version(1);
  message.mutable_hello()->set_token(token);
  return message;
}

v1::AgentMessage HeartbeatOf(const std::string& node) {
  v1::AgentMessage message;
  FillNode(node, message.mutable_heartbeat());
  return message;
}

v1::AgentMessage StepsOf(std::uint64_t first_seq, int blocks, int ranks) {
  v1::AgentMessage message;
  for (int i = 0; i < blocks; ++i) {
    v1::Report* report = message.add_reports();
    report->set_seq(first_seq + static_cast<std::uint64_t>(i));
    v1::StepBlock* steps = report->mutable_steps();
    steps->set_run("gpt");
    steps->set_attempt(1);
    steps->set_step(i);
    for (int r = 0; r < ranks; ++r) {
      steps->add_ranks(static_cast<std::uint32_t>(r));
    }
    steps->add_metrics(v1::METRIC_LOSS);
    steps->set_values(std::string(static_cast<std::size_t>(ranks) * 4, '\0'));
  }
  return message;
}

}  // namespace steadyrun
