// `steadyrun backtest` and `steadyrun parse` as a person calls them: the
// program itself, on files and against a real server with a stored run.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <sys/wait.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "server/app/app.h"
#include "server/storage/step_codec.h"
#include "tests/integration/storage/fixture.h"

namespace steadyrun {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

struct Ran {
  int code = -1;
  std::string out;
};

// stderr comes with stdout.
Ran Cli(const std::string& arguments) {
  const std::string command =
      std::string("NO_COLOR=1 '" STEADYRUN_CLI "' ") + arguments + " 2>&1";
  FILE* pipe = ::popen(command.c_str(), "r");
  Ran ran;
  if (pipe == nullptr) return ran;
  char buffer[4096];
  std::size_t n = 0;
  while ((n = ::fread(buffer, 1, sizeof buffer, pipe)) > 0) {
    ran.out.append(buffer, n);
  }
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) ran.code = WEXITSTATUS(status);
  return ran;
}

class FilesTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = directory_.path() + "/" + name;
    std::ofstream(path) << text;
    return path;
  }
  ScratchDirectory directory_;
};

const char kRun[] =
    "step,rank,node,loss,step_time\n"
    "1,0,a,2,0.5\n1,1,b,2,0.5\n2,0,a,2,0.5\n2,1,b,nan,0.5\n";

TEST_F(FilesTest, BacktestPrintsFindingsAndScore) {
  const std::string steps = Write("run.csv", kRun);
  const std::string labels = Write(
      "labels.csv", "start_step,end_step,kind,rank\n2,2,nan,1\n90,95,hang,\n");
  const Ran ran = Cli("backtest --steps " + steps + " --labels " + labels);
  EXPECT_EQ(ran.code, 0) << ran.out;
  EXPECT_THAT(ran.out, HasSubstr("b rank 1"));
  EXPECT_THAT(ran.out, HasSubstr("rollback"));
  EXPECT_THAT(ran.out, HasSubstr("Missed: hang at steps 90 to 95"));

  const Ran as_json =
      Cli("backtest --json --steps " + steps + " --labels " + labels);
  ASSERT_EQ(as_json.code, 0) << as_json.out;
  const json document = json::parse(as_json.out);
  EXPECT_EQ(document["format"], "csv");
  const json& nan = document["findings"][0];
  EXPECT_EQ(nan["kind"], "nan");
  EXPECT_EQ(nan["onset_step"], 2);
  EXPECT_EQ(nan["detected_step"], 2);
  EXPECT_EQ(nan["rank"], 1);
  EXPECT_EQ(nan["node"], "b");
  EXPECT_EQ(nan["severity"], "critical");
  EXPECT_EQ(nan["action"], "rollback");
  EXPECT_EQ(nan["judged"], "true");
  EXPECT_EQ(document["score"]["classes"]["nan"]["recall"]["value"], 1.0);
  EXPECT_EQ(document["score"]["classes"]["hang"]["recall"]["value"], 0.0);
}

TEST_F(FilesTest, APolicyChangesWhatIsDone) {
  const std::string policy =
      Write("p.toml", "[incident.nan]\nmode = \"observe\"\n");
  const Ran ran = Cli("backtest --json --policy " + policy + " --steps " +
                      Write("run.csv", kRun));
  ASSERT_EQ(ran.code, 0) << ran.out;
  const json document = json::parse(ran.out);
  EXPECT_EQ(document["findings"][0]["action"], "observe");
  EXPECT_EQ(document["findings"][0]["acts"], false);
}

TEST_F(FilesTest, ALogIsParsedToWhatBacktestReads) {
  const std::string log = Write(
      "train.log",
      "starting\n"
      "[default3]: iteration 1/ 9 | elapsed time per iteration (ms): 500.0 | "
      "lm loss: 2.5E+00 | grad norm: 1.5 |\n"
      "[default3]: iteration 2/ 9 | elapsed time per iteration (ms): 500.0 | "
      "lm loss: nan | grad norm: 1.5 |\n");
  const Ran parsed = Cli("parse " + log);
  ASSERT_EQ(parsed.code, 0) << parsed.out;
  EXPECT_THAT(parsed.out, HasSubstr("step,attempt,step_time,loss,grad_norm\n"
                                    "1,1,0.5,2.5,1.5\n2,1,0.5,nan,1.5\n"));
  const std::string csv = Write("parsed.csv", parsed.out);
  for (const std::string& file : {log, csv}) {
    const Ran ran = Cli("backtest --json --steps " + file);
    ASSERT_EQ(ran.code, 0) << ran.out;
    const json document = json::parse(ran.out);
    ASSERT_EQ(document["findings"].size(), 1u) << ran.out;
    EXPECT_EQ(document["findings"][0]["onset_step"], 2);
  }
  const Ran explained = Cli("parse --explain " + log);
  EXPECT_EQ(explained.code, 0);
  EXPECT_THAT(explained.out, HasSubstr("megatron matched 2 of the first 3"));
  EXPECT_THAT(explained.out, HasSubstr("step 2       step_time=0.5 loss=nan"));
  EXPECT_THAT(explained.out, HasSubstr("2 matched, 0 left out, 1 without"));
  EXPECT_THAT(Cli("parse --explain --all " + log).out, HasSubstr("starting"));
  EXPECT_EQ(json::parse(Cli("parse -o json " + log).out)["rows"], 2);
}

TEST_F(FilesTest, MistakesAreToldWithPlaceAndExitCode) {
  const std::string steps = Write("run.csv", kRun);
  for (const auto& [arguments, code, message] :
       {std::tuple{"backtest --steps " + Write("bad.csv", "step,loss\n1,x\n"),
                   1, "bad.csv:2:3: 'loss': expected a number"},
        {"backtest --steps " + steps + " --policy " +
             Write("p.toml", "[incident.nann]\nmode = \"act\"\n"),
         1, "p.toml:1:"},
        {"backtest --steps " + steps + " --labels " +
             Write("l.csv", "start_step,end_step,kind\n1,1,los_spike\n"),
         1, "l.csv:2:5: 'los_spike' is no kind of label (did you mean "},
        {"backtest --steps /nonexistent", 1, "No such file"},
        {"backtest", 2, "1 option from [--steps,--run] is required"},
        {"backtest --steps " + steps + " --run r", 2, "2 were given"},
        {"parse --format megatrn " + steps, 1, "did you mean 'megatron'?"},
        {"backtets", 2, "did you mean 'backtest'?"}}) {
    const Ran ran = Cli(arguments);
    EXPECT_EQ(ran.code, code) << arguments << "\n" << ran.out;
    EXPECT_THAT(ran.out, HasSubstr(message)) << arguments;
  }
}

// A run that has ended: 20 steps, a crash, and from 15 on again with a NaN.
class StoredRunTest : public StoreTest {
 protected:
  void SetUp() override {
    Open();
    RunState run = MakeRun("gpt");
    run.phase = RunPhase::kStopped;
    run.attempt = AttemptId{2};
    run.attempts = 2;
    run.spec.nodes = 2;
    run.spec.ranks_per_node = 1;
    run.placement = {{"n1", 0, "b1", StopProof::kNone},
                     {"n2", 1, "b2", StopProof::kNone}};
    run.max_step = Step{30};
    std::vector<Change> changes = {run};
    for (std::int64_t step = 1; step <= 20; ++step) {
      changes.push_back(MakeStep("gpt", 1, step, 2));
    }
    for (std::int64_t step = 15; step <= 30; ++step) {
      StepRow row = MakeStep("gpt", 2, step, 2);
      if (step >= 28) row.values[3] = std::nanf("");  // Rank 1's loss.
      Summarize(&row);
      changes.push_back(row);
    }
    Incident crash;
    crash.run = "gpt";
    crash.number = 1;
    crash.attempt = AttemptId{1};
    crash.step = Step{20};
    crash.state = IncidentState::kRecovered;
    crash.steps_lost = 6;
    crash.remediation = "restart";
    crash.detected = FromUnixMillis(1'700'000'100'000);
    changes.push_back(crash);
    Checkpoint checkpoint;
    checkpoint.run = "gpt";
    checkpoint.attempt = AttemptId{1};
    checkpoint.step = Step{14};
    checkpoint.state = CheckpointState::kVerified;
    changes.push_back(checkpoint);
    Apply(std::move(changes));
    Close();

    config_.data_dir = directory_.path();
    config_.grpc_address = "127.0.0.1:0";
    config_.http_address = "127.0.0.1:0";
    auto app =
        App::Start(config_, &system_clock_, [](Duration) { return true; });
    ASSERT_TRUE(app.ok()) << app.status();
    app_ = *std::move(app);
  }
  Ran Backtest(const std::string& policy, const std::string& more = "") {
    const std::string path = directory_.path() + "/new.toml";
    std::ofstream(path) << policy;
    return Cli("--server " + app_->GrpcAddress() + " backtest --run gpt " +
               more + " --policy " + path);
  }

  ServerConfig config_;
  SystemClock system_clock_;
  std::unique_ptr<App> app_;
};

TEST_F(StoredRunTest, AnotherPolicyIsTriedOnTheStoredHistory) {
  const Ran ran = Backtest(
      "[incident.nan]\nmode = \"advise\"\n[incident.crash]\nmode = "
      "\"observe\"\n",
      "-o json");
  ASSERT_EQ(ran.code, 0) << ran.out;
  const json reply = json::parse(ran.out);
  EXPECT_EQ(reply["rows"], 36);
  EXPECT_EQ(reply["attempts"], 2);
  EXPECT_EQ(reply["first_step"], 1);
  EXPECT_EQ(reply["last_step"], 30);
  json crash;
  json nan;
  for (const json& kind : reply["kinds"]) {
    if (kind["kind"] == "crash") crash = kind;
    if (kind["kind"] == "nan") nan = kind;
  }
  EXPECT_EQ(crash["recorded"], 1);
  EXPECT_EQ(crash["recorded_acted"], 1);
  EXPECT_EQ(crash["recorded_steps_lost"], 6);
  EXPECT_EQ(crash["before"]["acted"], 1);
  EXPECT_EQ(crash["after"]["acted"], 0);
  EXPECT_EQ(crash["after"]["left_alone"], 1);
  // It was never booked, but the rows show it.
  EXPECT_EQ(nan["recorded"], 0);
  EXPECT_EQ(nan["is_from_rows"], true);
  EXPECT_EQ(nan["before"]["acted"], 1);
  EXPECT_EQ(nan["before"]["steps_lost"], 28 - 14);
  EXPECT_EQ(nan["after"]["fired"], 1);
  EXPECT_EQ(nan["after"]["acted"], 0);
  EXPECT_EQ(nan["after"]["answer"], "advise rollback");
  EXPECT_EQ(reply["after_findings"][0]["culprit"]["node"], "n2");

  const Ran text = Backtest("[incident.nan]\nmode = \"advise\"\n");
  EXPECT_EQ(text.code, 0);
  EXPECT_THAT(text.out, HasSubstr("1 fewer acts, 14 steps saved"));
  EXPECT_THAT(text.out,
              HasSubstr("Steps lost: of kinds from rows an estimate"));
}

TEST_F(StoredRunTest, LaterAttemptsAlone) {
  const Ran ran = Backtest("", "-o json --from-attempt 2");
  ASSERT_EQ(ran.code, 0) << ran.out;
  const json reply = json::parse(ran.out);
  EXPECT_EQ(reply["rows"], 16);
  EXPECT_EQ(reply["first_step"], 15);
  EXPECT_THAT(ran.out, Not(HasSubstr("\"crash\"")));
}

TEST_F(StoredRunTest, MistakesAreTold) {
  Ran ran = Backtest("[incident.nan]\nmod = \"act\"\n");
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.out, HasSubstr("new.toml:2:"));
  EXPECT_THAT(ran.out, HasSubstr("did you mean 'mode'?"));
  ran = Cli("--server " + app_->GrpcAddress() +
            " backtest --run nope --policy " + directory_.path() + "/new.toml");
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.out, HasSubstr("no run 'nope'"));
  ran = Cli("--server " + app_->GrpcAddress() + " backtest --run gpt");
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.out, HasSubstr("--run needs --policy FILE"));
}

}  // namespace
}  // namespace steadyrun
