// The whole service in one process, on free ports.

#include "server/app/app.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "server/storage/migrations.h"
#include "steadyrun/v1/operator.grpc.pb.h"

namespace steadyrun {
namespace {

using testing::HasSubstr;

class AppTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/steadyrun-app-XXXXXX";
    config_.data_dir = ::mkdtemp(name.data());
    config_.grpc_address = "127.0.0.1:0";
    config_.http_address = "127.0.0.1:0";
  }
  void TearDown() override {
    app_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(config_.data_dir, ignored);
  }
  void Start() {
    absl::StatusOr<std::unique_ptr<App>> app =
        App::Start(config_, &clock_, [](Duration) { return true; });
    ASSERT_TRUE(app.ok()) << app.status();
    app_ = *std::move(app);
    stub_ = v1::OperatorService::NewStub(grpc::CreateChannel(
        app_->GrpcAddress(), grpc::InsecureChannelCredentials()));
  }
  template <typename Request, typename Reply>
  grpc::Status Call(grpc::Status (v1::OperatorService::Stub::*method)(
                        grpc::ClientContext*, const Request&, Reply*),
                    const Request& request, Reply* reply) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(20));
    return ((*stub_).*method)(&context, request, reply);
  }
  v1::LaunchRequest Launch(const std::string& request_id) {
    v1::LaunchRequest request;
    request.set_request_id(request_id);
    request.set_actor("ann");
    v1::RunSpec* spec = request.mutable_spec();
    spec->set_run("r");
    spec->add_argv("/bin/true");
    spec->set_working_directory("/");
    spec->set_nodes(1);
    spec->set_ranks_per_node(1);
    spec->set_checkpoint_directory("/nonexistent");
    return request;
  }

  ServerConfig config_;
  SystemClock clock_;
  std::unique_ptr<App> app_;
  std::unique_ptr<v1::OperatorService::Stub> stub_;
};

TEST_F(AppTest, TellsAboutItself) {
  Start();
  v1::ServerInfo info;
  const grpc::Status status = Call(&v1::OperatorService::Stub::GetServerInfo,
                                   v1::GetServerInfoRequest(), &info);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(info.server_epoch(), 1u);
  EXPECT_TRUE(info.storage_ok());
  EXPECT_EQ(info.schema_version(), NewestSchemaVersion());
  EXPECT_THAT(info.database(), HasSubstr(config_.data_dir));
  EXPECT_THAT(info.http_address(), HasSubstr(std::to_string(app_->HttpPort())));
  EXPECT_TRUE(app_->IsHealthy());
}

TEST_F(AppTest, ALaunchSurvivesTheServerAndIsCarriedOutOnce) {
  Start();
  v1::ActionReply first;
  grpc::Status status =
      Call(&v1::OperatorService::Stub::Launch, Launch("req-1"), &first);
  ASSERT_TRUE(status.ok()) << status.error_message();
  app_.reset();

  Start();
  v1::ListRunsReply runs;
  status =
      Call(&v1::OperatorService::Stub::ListRuns, v1::ListRunsRequest(), &runs);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(runs.runs_size(), 1);
  EXPECT_EQ(runs.runs(0).phase(), "placing");
  v1::ActionReply again;
  status = Call(&v1::OperatorService::Stub::Launch, Launch("req-1"), &again);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(again.duplicate());
  EXPECT_EQ(again.message(), first.message());

  v1::ListAuditReply audit;
  status = Call(&v1::OperatorService::Stub::ListAudit, v1::ListAuditRequest(),
                &audit);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(audit.entries_size(), 1);
}

TEST_F(AppTest, ReportsARunThatHasDoneNothingYet) {
  Start();
  v1::ActionReply reply;
  ASSERT_TRUE(
      Call(&v1::OperatorService::Stub::Launch, Launch("req-1"), &reply).ok());
  v1::GetReportRequest request;
  request.set_run("r");
  v1::StabilityReport report;
  const grpc::Status status =
      Call(&v1::OperatorService::Stub::GetReport, request, &report);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(report.steps_completed(), 0);
  EXPECT_THAT(report.json(), HasSubstr("\"wall_seconds\""));
  EXPECT_THAT(report.text(), HasSubstr("No incidents."));
}

TEST_F(AppTest, ASecondServerOnTheSameDirectoryIsRefused) {
  Start();
  const auto second =
      App::Start(config_, &clock_, [](Duration) { return true; });
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
}

TEST_F(AppTest, APortThatIsTakenIsNamed) {
  Start();
  ServerConfig other = config_;
  other.data_dir += "/other";
  other.grpc_address = app_->GrpcAddress();
  const auto second = App::Start(other, &clock_, [](Duration) { return true; });
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr(other.grpc_address));
}

TEST_F(AppTest, StopsTwiceWithoutHarm) {
  Start();
  app_->Stop();
  app_->Stop();
}

}  // namespace
}  // namespace steadyrun
