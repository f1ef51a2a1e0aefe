#pragma once

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "server/rpc/agent_service.h"
#include "server/rpc/event_watch.h"
#include "server/rpc/grpc_server.h"
#include "server/rpc/operator_api.h"
#include "server/rpc/operator_service.h"
#include "server/rpc/session_registry.h"
#include "steadyrun/v1/agent.grpc.pb.h"
#include "steadyrun/v1/operator.grpc.pb.h"
#include "tests/fakes/service_fakes.h"

namespace steadyrun {

// The real gRPC server on a free loopback port, with the engine's queue
// replaced by a recorder.
class RpcTest : public ::testing::Test {
 protected:
  // Restarts nothing: call once, before any client.
  void StartServer(TokenSet tokens = {}, TlsFiles tls = {});
  void TearDown() override;

  std::shared_ptr<grpc::Channel> Channel() const;
  std::string Address() const { return server_->Address(); }

  ManualClock clock_;
  RecordingSink sink_;
  SettableLive live_;
  MemoryHistory history_;
  TokenSet tokens_;
  SessionRegistry registry_{&sink_, &clock_};
  PendingReplies replies_{&clock_, std::chrono::seconds(10)};
  std::unique_ptr<AgentEndpoint> endpoint_;
  EventWatch* watch_ = nullptr;  // A test's own.
  std::unique_ptr<OperatorApi> api_;
  std::unique_ptr<grpc::Service> operator_service_;
  std::unique_ptr<GrpcServer> server_;
};

// One agent's side of a stream, with blocking calls.
class TestAgent {
 public:
  explicit TestAgent(const std::shared_ptr<grpc::Channel>& channel,
                     const std::string& bearer = "");
  ~TestAgent();

  bool Write(const v1::AgentMessage& message) {
    return stream_->Write(message);
  }
  // Empty when the stream has ended.
  std::optional<v1::ServerMessage> Read();
  // Reads to the end.
  grpc::Status End();
  void HangUp() { stream_->WritesDone(); }
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<v1::AgentService::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::AgentMessage, v1::ServerMessage>>
      stream_;
  bool ended_ = false;
};

v1::AgentMessage HelloOf(const std::string& node,
                         const std::string& token = "");
v1::AgentMessage HeartbeatOf(const std::string& node);
// A block of `ranks` ranks with one metric.
v1::AgentMessage StepsOf(std::uint64_t first_seq, int blocks, int ranks = 8);

}  // namespace steadyrun
