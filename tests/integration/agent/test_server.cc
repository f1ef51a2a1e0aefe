#include "tests/integration/agent/test_server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "proto/messages/convert.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {

const RankState* Heard::FindRank(int rank) const {
  for (const NodeRunState& run : state.runs) {
    for (const RankState& one : run.ranks) {
      if (one.rank == Rank{rank}) return &one;
    }
  }
  return nullptr;
}

class TestServer::Service final : public v1::AgentService::Service {
 public:
  explicit Service(TestServer* owner) : owner_(owner) {}

  grpc::Status Connect(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::ServerMessage, v1::AgentMessage>* stream)
      override {
    v1::AgentMessage message;
    if (!stream->Read(&message)) return grpc::Status::OK;
    auto hello = FromProto(message.hello());
    {
      absl::MutexLock lock(&mutex);
      if (!hello.ok()) {
        heard.errors.push_back(std::string(hello.status().message()));
        return {grpc::StatusCode::INVALID_ARGUMENT, "hello"};
      }
      heard.state = hello->state;
      heard.hellos.push_back(*hello);
      ++heard.streams;
      newest = stream;
      v1::ServerMessage answer;
      Welcome welcome;
      welcome.server_epoch = owner_->epoch;
      welcome.server_id = owner_->server_id;
      welcome.resume_after = committed;
      welcome.heartbeat_interval = owner_->heartbeat_interval;
      ToProto(welcome, answer.mutable_welcome());
      stream->Write(answer);
    }
    while (stream->Read(&message)) Take(message, stream);
    absl::MutexLock lock(&mutex);
    --heard.streams;
    if (newest == stream) newest = nullptr;
    return grpc::Status::OK;
  }

  absl::Mutex mutex;
  Heard heard ABSL_GUARDED_BY(mutex);
  ReportSeq committed ABSL_GUARDED_BY(mutex);
  grpc::ServerReaderWriter<v1::ServerMessage, v1::AgentMessage>* newest
      ABSL_GUARDED_BY(mutex) = nullptr;

 private:
  void Take(
      const v1::AgentMessage& message,
      grpc::ServerReaderWriter<v1::ServerMessage, v1::AgentMessage>* stream) {
    absl::MutexLock lock(&mutex);
    for (const v1::Report& one : message.reports()) {
      auto report = FromProto(one);
      if (!report.ok()) {
        heard.errors.push_back(std::string(report.status().message()));
        continue;
      }
      const ReportSeq seq = report->seq;
      if (!heard.reports.emplace(seq, *std::move(report)).second) {
        ++heard.repeated_reports;
      }
    }
    if (message.has_heartbeat()) {
      auto state = FromProto(message.heartbeat());
      if (state.ok()) {
        heard.state = *std::move(state);
        ++heard.heartbeats;
      } else {
        heard.errors.push_back(std::string(state.status().message()));
      }
    }
    if (message.reports_size() == 0 || !owner_->acknowledges) return;
    committed = std::max(committed, heard.reports.rbegin()->first);
    v1::ServerMessage answer;
    answer.set_ack_seq(committed.value);
    stream->Write(answer);
  }

  TestServer* const owner_;
};

TestServer::TestServer() : service_(std::make_unique<Service>(this)) {
  Start();
}

TestServer::~TestServer() { Stop(); }

void TestServer::Start() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(fmt::format("127.0.0.1:{}", port_), credentials,
                           &port_);
  builder.RegisterService(service_.get());
  server_ = builder.BuildAndStart();
  ASSERT_NE(server_, nullptr);
}

void TestServer::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

std::string TestServer::address() const {
  return fmt::format("127.0.0.1:{}", port_);
}

Heard TestServer::heard() const {
  absl::MutexLock lock(&service_->mutex);
  return service_->heard;
}

void TestServer::ForgetReports() {
  absl::MutexLock lock(&service_->mutex);
  service_->heard.reports.clear();
}

bool TestServer::WaitUntil(const std::function<bool(const Heard&)>& condition) {
  const auto holds = [&] {
    service_->mutex.AssertHeld();
    return condition(service_->heard);
  };
  absl::MutexLock lock(&service_->mutex);
  return service_->mutex.AwaitWithTimeout(absl::Condition(&holds),
                                          absl::Seconds(20));
}

void TestServer::Send(Command command) {
  absl::MutexLock lock(&service_->mutex);
  ASSERT_NE(service_->newest, nullptr) << "no agent is connected";
  v1::ServerMessage message;
  ToProto(command, message.add_commands());
  service_->newest->Write(message);
}

Command TestServer::Stop(int attempt, Duration grace) const {
  Command command;
  command.command_id = fmt::format("run/{}/stop/node-1", attempt);
  command.server_epoch = epoch;
  command.run = "run";
  command.attempt = AttemptId{attempt};
  command.boot_id = boot_id();
  command.body = StopCommand{grace};
  return command;
}

Command TestServer::Start(int attempt, StartCommand start) const {
  Command command = Stop(attempt);
  command.command_id = fmt::format("run/{}/start/node-1", attempt);
  command.body = std::move(start);
  return command;
}

}  // namespace steadyrun::agent
