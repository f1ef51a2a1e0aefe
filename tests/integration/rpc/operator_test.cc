// The operator's methods over the real gRPC server.

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <cmath>
#include <functional>
#include <limits>
#include <thread>

#include "absl/synchronization/notification.h"
#include "server/rpc/status_convert.h"
#include "tests/integration/rpc/fixture.h"

namespace steadyrun {
namespace {

using ::testing::HasSubstr;

class OperatorTest : public RpcTest {
 protected:
  void SetUp() override {
    RunView run;
    run.state.spec.run = "gpt";
    run.state.spec.argv = {"python3", "train.py"};
    run.state.spec.nodes = 2;
    run.state.spec.ranks_per_node = 2;
    run.state.spec.environment = {{"WANDB_API_KEY", "abc"}, {"OMP", "1"}};
    run.state.phase = RunPhase::kRunning;
    run.state.attempt = {3};
    run.state.placement = {{"n1", 0, "b1", StopProof::kNone},
                           {"n2", 1, "b2", StopProof::kNone}};
    run.loss = std::numeric_limits<double>::quiet_NaN();
    run.verdict = "running";
    EngineView view;
    view.runs = {run};
    NodeView node;
    node.state.node = "n1";
    node.status = "connected";
    view.nodes = {node};
    view.sessions = 1;
    live_.Set(view);
    StartServer();
    stub_ = v1::OperatorService::NewStub(Channel());
  }

  // Answers every action as the engine would, at once.
  void AnswerWith(absl::Status status) {
    sink_.SetHook([this, status](const Event& event) {
      ReplyToOperator reply;
      reply.status = status;
      reply.message = "done";
      reply.attempt = {4};
      reply.step = {120};
      if (const auto* action = std::get_if<ActionRequested>(&event)) {
        reply.reply_to = action->reply_to;
        reply.run = action->run;
        replies_.Execute(reply);
      } else if (const auto* launch = std::get_if<LaunchRequested>(&event)) {
        reply.reply_to = launch->reply_to;
        reply.run = launch->spec.run;
        replies_.Execute(reply);
      }
    });
  }

  v1::ActionRequest Action(v1::Action action) {
    v1::ActionRequest request;
    request.set_request_id("r1");
    request.set_actor("ada");
    request.set_run("gpt");
    request.set_action(action);
    request.set_reason("test");
    return request;
  }
  grpc::Status Act(const v1::ActionRequest& request) {
    grpc::ClientContext context;
    return stub_->Act(&context, request, &reply_);
  }

  std::unique_ptr<v1::OperatorService::Stub> stub_;
  v1::ActionReply reply_;
};

TEST_F(OperatorTest, AnActionIsAnsweredWhenItsEffectArrives) {
  AnswerWith(absl::OkStatus());
  v1::ActionRequest request = Action(v1::ACTION_ROLLBACK);
  request.set_step(100);
  ASSERT_TRUE(Act(request).ok());
  EXPECT_EQ(reply_.message(), "done");
  EXPECT_EQ(reply_.attempt(), 4);
  EXPECT_EQ(reply_.step(), 120);
  const auto event = sink_.All<ActionRequested>().at(0);
  EXPECT_EQ(event.action, OperatorAction::kRollback);
  EXPECT_EQ(event.step.value, 100);
  EXPECT_EQ(event.actor, "ada");
  EXPECT_EQ(event.request_id, "r1");
}

TEST_F(OperatorTest, TheEnginesRefusalArrivesWithItsCode) {
  for (const auto code :
       {absl::StatusCode::kFailedPrecondition, absl::StatusCode::kNotFound,
        absl::StatusCode::kAlreadyExists}) {
    AnswerWith(absl::Status(code, "the run is paused"));
    const grpc::Status status = Act(Action(v1::ACTION_RESTART));
    EXPECT_EQ(FromGrpc(status), absl::Status(code, "the run is paused"));
  }
}

TEST_F(OperatorTest, AnActionThatIsNotCommittedInTimeIsUnavailable) {
  sink_.SetHook(
      [this](const Event&) { clock_.Advance(std::chrono::seconds(11)); });
  const grpc::Status status = Act(Action(v1::ACTION_STOP));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("the same request_id"));
  // An effect that comes after all finds nobody.
  ReplyToOperator late;
  late.reply_to = sink_.All<ActionRequested>().at(0).reply_to;
  replies_.Execute(late);
}

TEST_F(OperatorTest, NothingIsDoneWhenTheQueueIsFullOrTheStoreFails) {
  sink_.SetCapacity(0);
  EXPECT_THAT(Act(Action(v1::ACTION_STOP)).error_message(),
              HasSubstr("queue is full"));
  sink_.SetCapacity(10);
  ServiceStatus status;
  status.storage_ok = false;
  status.storage_error = "disk full";
  live_.Set(status);
  const grpc::Status refused = Act(Action(v1::ACTION_STOP));
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(refused.error_message(), HasSubstr("disk full"));
  EXPECT_TRUE(sink_.Events().empty());
}

TEST_F(OperatorTest, RequestsAreCheckedForForm) {
  const auto error = [this](v1::ActionRequest request) {
    const grpc::Status status = Act(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  };
  auto request = Action(v1::ACTION_STOP);
  request.clear_reason();
  EXPECT_THAT(error(request), HasSubstr("reason: found nothing"));
  request = Action(v1::ACTION_STOP);
  request.set_reason("  ");
  EXPECT_THAT(error(request), HasSubstr("reason: found nothing"));
  request = Action(v1::ACTION_UNSPECIFIED);
  EXPECT_THAT(error(request), HasSubstr("action: found 0"));
  request = Action(static_cast<v1::Action>(99));
  EXPECT_THAT(error(request), HasSubstr("action: found 99"));
  request = Action(v1::ACTION_STOP);
  request.clear_request_id();
  EXPECT_THAT(error(request), HasSubstr("request_id"));
  request = Action(v1::ACTION_STOP);
  request.set_run("a/b");
  EXPECT_THAT(error(request), HasSubstr("run: found 'a/b'"));
  request = Action(v1::ACTION_QUARANTINE);
  EXPECT_THAT(error(request), HasSubstr("node"));
  request = Action(v1::ACTION_ROLLBACK);
  request.set_step(-4);
  EXPECT_THAT(error(request), HasSubstr("step: found -4"));
  EXPECT_TRUE(sink_.Events().empty());
}

TEST_F(OperatorTest, LaunchCarriesTheWholeSpec) {
  AnswerWith(absl::OkStatus());
  v1::LaunchRequest request;
  request.set_request_id("l1");
  request.mutable_spec()->set_run("new");
  request.mutable_spec()->add_argv("python3");
  request.mutable_spec()->set_nodes(2);
  request.mutable_spec()->set_ranks_per_node(4);
  (*request.mutable_spec()->mutable_environment())["A"] = "b";
  request.mutable_spec()->set_policy_toml("[budget]\n");
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Launch(&context, request, &reply_).ok());
  const RunSpec spec = sink_.All<LaunchRequested>().at(0).spec;
  EXPECT_EQ(spec.WorldSize(), 8);
  EXPECT_EQ(spec.environment.at("A"), "b");
  EXPECT_EQ(spec.policy_toml, "[budget]\n");

  request.mutable_spec()->set_nodes(0);
  grpc::ClientContext second;
  EXPECT_THAT(stub_->Launch(&second, request, &reply_).error_message(),
              HasSubstr("spec.nodes: found 0"));
}

TEST_F(OperatorTest, RunsShowTheLiveViewAndTheStoresRest) {
  RunState old;
  old.spec.run = "old";
  old.phase = RunPhase::kCompleted;
  RunState same;
  same.spec.run = "gpt";
  history_.runs = {same, old};
  grpc::ClientContext context;
  v1::ListRunsReply reply;
  ASSERT_TRUE(stub_->ListRuns(&context, {}, &reply).ok());
  ASSERT_EQ(reply.runs_size(), 2);
  EXPECT_EQ(reply.runs(0).spec().run(), "gpt");
  EXPECT_TRUE(std::isnan(reply.runs(0).loss()));
  EXPECT_EQ(reply.runs(0).placement(1).ranks(1), 3);
  EXPECT_EQ(reply.runs(0).spec().environment().at("WANDB_API_KEY"), "***");
  EXPECT_EQ(reply.runs(0).spec().environment().at("OMP"), "1");
  EXPECT_EQ(reply.runs(1).phase(), "completed");
}

TEST_F(OperatorTest, UnknownRunsAndIncidentsAreNotFound) {
  grpc::ClientContext context;
  v1::GetRunRequest request;
  request.set_run("gptt");
  v1::RunView view;
  const grpc::Status status = stub_->GetRun(&context, request, &view);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("known runs: gpt"));
  v1::Incident incident;
  v1::GetIncidentRequest get;
  get.set_id("gpt:7");
  grpc::ClientContext second;
  EXPECT_EQ(stub_->GetIncident(&second, get, &incident).error_code(),
            grpc::StatusCode::NOT_FOUND);
  get.set_id("gpt");
  grpc::ClientContext third;
  EXPECT_EQ(stub_->GetIncident(&third, get, &incident).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(OperatorTest, EveryQueryAnswers) {
  Incident incident;
  incident.number = 1;
  incident.run = "gpt";
  incident.kind = IncidentKind::kHang;
  incident.evidence = {"broken \xff byte"};
  incident.timeline = {{FromUnixMillis(5), "detected"}};
  incident.recovery_time = std::chrono::milliseconds(2500);
  history_.incidents = {incident};
  Checkpoint checkpoint;
  checkpoint.run = "gpt";
  checkpoint.step = {100};
  checkpoint.shards[0].size_bytes = 7;
  checkpoint.shards[1].size_bytes = 8;
  history_.checkpoints = {checkpoint};
  StepBucket bucket;
  bucket.last = {5};
  bucket.loss = std::numeric_limits<double>::quiet_NaN();
  history_.buckets = {bucket};
  history_.audit = {
      {1, 2, {{}, "ada", "stop", "gpt", "why", "accepted", "r"}, "ff"}};
  const auto call = [](auto method) {
    grpc::ClientContext context;
    const grpc::Status status = method(&context);
    EXPECT_TRUE(status.ok()) << status.error_message();
  };

  v1::ListIncidentsReply incidents;
  call([&](auto* c) { return stub_->ListIncidents(c, {}, &incidents); });
  ASSERT_EQ(incidents.incidents_size(), 1);
  EXPECT_EQ(incidents.incidents(0).id(), "gpt:1");
  EXPECT_EQ(incidents.incidents(0).evidence(0), "broken ? byte");
  EXPECT_DOUBLE_EQ(incidents.incidents(0).recovery_seconds(), 2.5);
  v1::Incident one;
  v1::GetIncidentRequest get;
  get.set_id("gpt:1");
  call([&](auto* c) { return stub_->GetIncident(c, get, &one); });
  EXPECT_EQ(one.kind(), "hang");
  v1::ListNodesReply nodes;
  call([&](auto* c) { return stub_->ListNodes(c, {}, &nodes); });
  EXPECT_EQ(nodes.nodes(0).state().node(), "n1");
  v1::ListCheckpointsRequest of_run;
  of_run.set_run("gpt");
  v1::ListCheckpointsReply checkpoints;
  call(
      [&](auto* c) { return stub_->ListCheckpoints(c, of_run, &checkpoints); });
  EXPECT_EQ(checkpoints.checkpoints(0).size_bytes(), 15);
  v1::GetStepsRequest get_steps;
  get_steps.set_run("gpt");
  v1::StepSeries steps;
  call([&](auto* c) { return stub_->GetSteps(c, get_steps, &steps); });
  EXPECT_TRUE(std::isnan(steps.loss(0)));
  v1::GetReportRequest get_report;
  get_report.set_run("gpt");
  v1::StabilityReport report;
  call([&](auto* c) { return stub_->GetReport(c, get_report, &report); });
  EXPECT_EQ(report.run(), "gpt");
  EXPECT_EQ(report.incidents_size(), 1);
  EXPECT_THAT(report.json(), HasSubstr("\"ettr\""));
  EXPECT_THAT(report.text(), HasSubstr("gpt"));
  v1::ListAuditReply audit;
  call([&](auto* c) { return stub_->ListAudit(c, {}, &audit); });
  EXPECT_EQ(audit.entries(0).actor(), "ada");
  v1::ServerInfo info;
  call([&](auto* c) { return stub_->GetServerInfo(c, {}, &info); });
  EXPECT_EQ(info.agents_connected(), 1);
}

TEST_F(OperatorTest, AStoreThatCannotBeReadIsSaidAndHidesNoLiveRun) {
  history_.failure = absl::UnavailableError("disk does not answer");
  grpc::ClientContext context;
  v1::ListRunsReply reply;
  EXPECT_TRUE(stub_->ListRuns(&context, {}, &reply).ok());
  EXPECT_EQ(reply.runs_size(), 1);
  grpc::ClientContext second;
  v1::ListIncidentsReply incidents;
  EXPECT_EQ(stub_->ListIncidents(&second, {}, &incidents).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

// A query that takes long must not keep an agent from being heard.
TEST_F(OperatorTest, SlowQueriesDoNotSilenceAgents) {
  absl::Notification go_on;
  history_.before_runs = [&go_on] { go_on.WaitForNotification(); };
  std::vector<std::thread> askers;
  for (int i = 0; i < 8; ++i) {
    askers.emplace_back([this] {
      grpc::ClientContext context;
      v1::ListRunsReply reply;
      EXPECT_TRUE(stub_->ListRuns(&context, {}, &reply).ok());
    });
  }
  TestAgent agent(Channel());
  ASSERT_TRUE(agent.Write(HelloOf("n1")));
  ASSERT_TRUE(sink_.WaitFor<AgentConnected>(1));
  for (std::size_t i = 1; i <= 20; ++i) {
    ASSERT_TRUE(agent.Write(HeartbeatOf("n1")));
    ASSERT_TRUE(sink_.WaitFor<AgentHeartbeat>(i));
  }
  go_on.Notify();
  for (std::thread& asker : askers) asker.join();
}

// One unary or streaming exchange of raw bytes, as any gRPC tool would do it.
std::string RawCall(const std::shared_ptr<grpc::Channel>& channel,
                    const std::string& method, const std::string& request) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto next = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return ok;
  };
  auto call = stub.PrepareCall(&context, method, &queue);
  call->StartCall(nullptr);
  next();
  grpc::Slice slice(request);
  call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
  next();
  call->WritesDone(nullptr);
  next();
  grpc::ByteBuffer reply;
  call->Read(&reply, nullptr);
  std::string bytes;
  if (next()) {
    std::vector<grpc::Slice> slices;
    reply.Dump(&slices);
    for (const auto& one : slices) {
      bytes.append(reinterpret_cast<const char*>(one.begin()), one.size());
    }
  }
  grpc::Status status;
  call->Finish(&status, nullptr);
  next();
  EXPECT_TRUE(status.ok()) << status.error_message();
  return bytes;
}

TEST_F(OperatorTest, HealthAndReflectionAreThere) {
  EXPECT_EQ(RawCall(Channel(), "/grpc.health.v1.Health/Check", ""),
            std::string("\x08\x01"));  // SERVING
  server_->SetServing(false);
  EXPECT_EQ(RawCall(Channel(), "/grpc.health.v1.Health/Check", ""),
            std::string("\x08\x02"));
  const std::string services =
      RawCall(Channel(),
              "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
              std::string("\x3a\x00", 2));
  EXPECT_THAT(services, HasSubstr("steadyrun.v1.AgentService"));
  EXPECT_THAT(services, HasSubstr("steadyrun.v1.OperatorService"));
}

TEST_F(OperatorTest, ThePlanOfAHoldSaysWhatGoesOnAndWhatWaits) {
  const auto plan_of = [&](v1::Action action) {
    grpc::ClientContext context;
    v1::ActionPlan plan;
    EXPECT_TRUE(stub_->PlanAction(&context, Action(action), &plan).ok());
    return plan;
  };
  const auto show = [&](const std::function<void(RunView*)>& change) {
    EngineView view = *live_.View();
    change(&view.runs[0]);
    live_.Set(view);
  };
  show([](RunView* run) {
    run->ranks_alive = 4;
    run->state.attempt_step = run->state.max_step = {40};
  });
  const v1::ActionPlan hold = plan_of(v1::ACTION_HOLD);
  EXPECT_TRUE(hold.possible());
  EXPECT_EQ(hold.effect(),
            "Nothing is stopped or started by itself until the hold is "
            "released; now: it trains on; a fault will page and wait.");
  EXPECT_EQ(hold.ranks_stopped(), 0);
  EXPECT_EQ(hold.steps_lost(), 0);
  EXPECT_FALSE(hold.destroys_work());
  const v1::ActionPlan early = plan_of(v1::ACTION_UNHOLD);
  EXPECT_FALSE(early.possible());
  EXPECT_EQ(early.why_not(), "it is not held");

  show([](RunView* run) {
    run->state.is_held = true;
    run->state.hold_reason = "held by ada: the switch";
    run->state.held_incident = 2;
  });
  const v1::ActionPlan unhold = plan_of(v1::ACTION_UNHOLD);
  EXPECT_TRUE(unhold.possible());
  EXPECT_THAT(unhold.effect(), HasSubstr("incident gpt:2 is answered"));
  EXPECT_THAT(unhold.effect(), HasSubstr("from the beginning"));
  EXPECT_EQ(unhold.ranks_stopped(), 4);
  EXPECT_EQ(unhold.steps_lost(), 41);
  const v1::ActionPlan restart = plan_of(v1::ACTION_RESTART);
  EXPECT_FALSE(restart.possible());
  EXPECT_THAT(restart.why_not(), HasSubstr("`steadyrun unhold gpt`"));

  show([](RunView* run) {
    run->state.phase = RunPhase::kPlacing;
    run->state.held_incident = 0;
  });
  EXPECT_THAT(plan_of(v1::ACTION_UNHOLD).effect(),
              HasSubstr("it starts again from the beginning when"));
}

}  // namespace
}  // namespace steadyrun
