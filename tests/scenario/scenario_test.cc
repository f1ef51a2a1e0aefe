// Golden scenarios: tests/scenario/*.txt, to be read as prose.
//
//   # What this shows.
//   command
//   command
//   ----
//   what the service did, said and stored
//
// A block ends with an empty line. To accept what the code does now, after
// having understood why it differs:
//   scenario_test --rewrite
// One file alone: scenario_test --only=crash

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/scenario/scripted_cluster.h"

namespace steadyrun {
namespace {

bool rewrite = false;

// "name key=value key=value rest": words in order, values by key.
class Line {
 public:
  explicit Line(const std::string& text) {
    std::istringstream in(text);
    std::string word;
    while (in >> word) words_.push_back(word);
  }
  std::string Word(std::size_t i) const {
    return i < words_.size() ? words_[i] : "";
  }
  std::string Rest(std::size_t from) const {
    std::string rest;
    for (std::size_t i = from; i < words_.size(); ++i) {
      rest += (rest.empty() ? "" : " ") + words_[i];
    }
    return rest;
  }
  std::string Get(const std::string& key, const std::string& otherwise) const {
    for (const std::string& word : words_) {
      if (word.rfind(key + "=", 0) == 0) return word.substr(key.size() + 1);
    }
    return otherwise;
  }
  std::int64_t Number(const std::string& key, std::int64_t otherwise) const {
    return std::stoll(Get(key, std::to_string(otherwise)));
  }
  const std::vector<std::string>& Words() const { return words_; }

 private:
  std::vector<std::string> words_;
};

class Script {
 public:
  // Empty, or what is wrong with the command.
  std::string Do(const std::string& text) {
    const Line line(text);
    const std::string verb = line.Word(0);
    if (verb == "nodes") {
      for (std::size_t i = 1; i < line.Words().size(); ++i) {
        cluster_.AddNode(line.Word(i));
      }
      cluster_.RunFor(std::chrono::milliseconds(50));
    } else if (verb == "launch") {
      Launch(line);
    } else if (verb == "trainer") {
      SetTrainer(line);
    } else if (verb == "run") {
      return Run(line);
    } else if (DoFault(line) || DoAction(line) || DoShow(line)) {
      return "";
    } else {
      return "unknown command: " + text;
    }
    return "";
  }

  std::string Take() { return cluster_.TakeTranscript(); }

 private:
  void Launch(const Line& line) {
    RunSpec spec;
    spec.run = "gpt";
    spec.argv = {"python3", "train.py"};
    spec.checkpoint_directory = "/ckpt";
    spec.nodes = static_cast<std::int32_t>(line.Number("nodes", 2));
    spec.ranks_per_node = static_cast<std::int32_t>(line.Number("ranks", 2));
    spec.target_steps = line.Number("steps", 1000);
    spec.policy_toml = policy_;
    cluster_.Launch(spec, line.Get("request", "launch-1"));
  }

  void SetTrainer(const Line& line) {
    ScriptedCluster::Trainer& trainer = cluster_.Settings();
    trainer.startup_seconds =
        std::stod(line.Get("startup", std::to_string(trainer.startup_seconds)));
    trainer.step_seconds =
        std::stod(line.Get("step", std::to_string(trainer.step_seconds)));
    trainer.save_every = line.Number("save_every", trainer.save_every);
    trainer.save_seconds =
        std::stod(line.Get("save", std::to_string(trainer.save_seconds)));
    trainer.ignores_save = line.Number("ignores_save", 0) != 0;
    trainer.says_late = line.Number("says_late", 0) != 0;
    trainer.fails_to_start = line.Number("fails_to_start", 0) != 0;
    if (!line.Get("bad_batch", "").empty()) {
      cluster_.Loss().SetBadBatch({line.Number("bad_batch", 0),
                                   std::stod(line.Get("height", "1")),
                                   line.Number("stays", 0) == 0});
    }
    if (!line.Get("nan_once", "").empty()) {
      trainer.nan_once.insert(line.Number("nan_once", 0));
    }
    if (!line.Get("nan_always", "").empty()) {
      trainer.nan_always.insert(line.Number("nan_always", 0));
    }
    if (!line.Get("raises_at", "").empty()) {
      trainer.raises_at[line.Number("raises_at", 0)] =
          static_cast<std::int32_t>(line.Number("rank", 0));
    }
    const std::string evaluates = line.Get("evaluates_before", "");
    if (!evaluates.empty()) {
      trainer.long_phases[line.Number("evaluates_before", 0)] = {
          Phase::kEvaluation, std::stod(line.Get("for", "60"))};
    }
    const std::string saves = line.Get("saves_long_before", "");
    if (!saves.empty()) {
      trainer.long_phases[line.Number("saves_long_before", 0)] = {
          Phase::kCheckpoint, std::stod(line.Get("for", "60"))};
    }
  }

  std::string Run(const Line& line) {
    if (line.Word(1) == "for") {
      cluster_.RunFor(FromSeconds(std::stod(line.Word(2))));
      return "";
    }
    if (line.Word(1) == "to" && line.Word(2) == "step") {
      return cluster_.RunUntilStep(std::stoll(line.Word(3)))
                 ? ""
                 : "that step was not reached within ten minutes";
    }
    if (line.Word(1) == "until") {
      return cluster_.RunUntilPhase(line.Word(2))
                 ? ""
                 : "that phase was not reached within half an hour";
    }
    return "run for SECONDS, run to step N, or run until PHASE";
  }

  bool DoFault(const Line& line) {
    const std::string what = line.Word(0) + " " + line.Word(1);
    const std::string name = line.Word(2);
    if (what == "kill rank") {
      cluster_.KillRank(std::stoi(name), SIGKILL);
    } else if (what == "fail rank") {
      cluster_.FailRank(std::stoi(name), line.Rest(3));
    } else if (what == "stop rank") {
      cluster_.StopRank(std::stoi(name));
    } else if (what == "kill node") {
      cluster_.KillNode(name);
    } else if (what == "reboot node") {
      cluster_.Reboot(name);
    } else if (what == "freeze node") {
      cluster_.FreezeNode(name);
    } else if (what == "thaw node") {
      cluster_.ThawNode(name);
    } else if (what == "cut agent") {
      cluster_.CutAgent(name);
    } else if (what == "mute agent") {
      cluster_.MuteAgent(name);
    } else if (what == "join agent") {
      cluster_.JoinAgent(name);
    } else if (what == "kill server") {
      cluster_.KillServer();
    } else if (what == "start server") {
      cluster_.StartServer();
    } else if (what == "corrupt checkpoint") {
      cluster_.CorruptCheckpoint(std::stoll(name), line.Word(3) != "unnoticed");
    } else if (what == "lose commands") {
      cluster_.DropCommands(name, std::stoi(line.Word(3)));
    } else if (what == "refuse start") {
      cluster_.RefuseStart(name);
    } else if (what == "repeat reports") {
      cluster_.RepeatReports(name);
    } else if (line.Word(0) == "policy") {
      policy_ += line.Rest(1) + "\n";
    } else {
      return false;
    }
    return true;
  }

  // checkpoint, pause, ... [to=STEP] [node=NAME] [request=ID] because REASON
  bool DoAction(const Line& line) {
    for (const OperatorAction action :
         {OperatorAction::kCheckpoint, OperatorAction::kPause,
          OperatorAction::kResume, OperatorAction::kRestart,
          OperatorAction::kRollback, OperatorAction::kStop,
          OperatorAction::kQuarantine, OperatorAction::kRelease,
          OperatorAction::kHold, OperatorAction::kUnhold}) {
      if (line.Word(0) != OperatorActionName(action)) continue;
      std::string reason;
      for (std::size_t i = 1; i < line.Words().size(); ++i) {
        if (line.Word(i) == "because") reason = line.Rest(i + 1);
      }
      cluster_.Act(action, reason, steadyrun::Step{line.Number("to", -1)},
                   line.Get("node", ""),
                   line.Get("request", std::to_string(++requests_)));
      return true;
    }
    return false;
  }

  bool DoShow(const Line& line) {
    if (line.Word(0) != "show") return false;
    const std::string what = line.Word(1);
    if (what == "run") cluster_.Show(cluster_.DescribeRun());
    if (what == "incidents") cluster_.Show(cluster_.DescribeIncidents());
    if (what == "checkpoints") cluster_.Show(cluster_.DescribeCheckpoints());
    if (what == "time") cluster_.Show(cluster_.DescribeTime());
    if (what == "nodes") cluster_.Show(cluster_.DescribeNodes());
    if (what == "audit") cluster_.Show(cluster_.DescribeAudit());
    return true;
  }

  ScriptedCluster cluster_;
  std::string policy_;
  int requests_ = 0;
};

std::string Replay(const std::string& text) {
  Script script;
  std::istringstream in(text);
  std::string line;
  std::string result;
  bool is_expected = false;
  while (std::getline(in, line)) {
    if (is_expected) {
      // The empty line at its end was written with the block.
      if (line.empty()) is_expected = false;
      continue;
    }
    if (line.rfind("ERROR ", 0) == 0) continue;  // Of an earlier rewrite.
    result += line + "\n";
    if (line == "----") {
      result += script.Take() + "\n";
      is_expected = true;
    } else if (!line.empty() && line[0] != '#') {
      const std::string error = script.Do(line);
      if (!error.empty()) result += "ERROR " + error + "\n";
    }
  }
  return result;
}

class ScenarioTest : public testing::TestWithParam<std::string> {};

TEST_P(ScenarioTest, DoesWhatTheScriptSays) {
  const std::string path = "tests/scenario/" + GetParam() + ".txt";
  std::ifstream in(path);
  ASSERT_TRUE(in) << path << ": run it from the root of the project";
  std::stringstream text;
  text << in.rdbuf();

  const std::string result = Replay(text.str());

  if (rewrite && result != text.str()) {
    std::ofstream(path) << result;
    std::cout << "rewrote " << path << "\n";
    return;
  }
  EXPECT_EQ(text.str(), result)
      << path << " differs. Understand why, then: scenario_test --rewrite";
}

std::vector<std::string> Scenarios() {
  std::vector<std::string> names;
  for (const auto& entry :
       std::filesystem::directory_iterator("tests/scenario")) {
    if (entry.path().extension() == ".txt" &&
        entry.path().filename() != "CMakeLists.txt") {
      names.push_back(entry.path().stem().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Golden, ScenarioTest, testing::ValuesIn(Scenarios()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace steadyrun

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--rewrite") steadyrun::rewrite = true;
    if (arg.rfind("--only=", 0) == 0) {
      testing::GTEST_FLAG(filter) = "*/" + arg.substr(7);
    }
  }
  return RUN_ALL_TESTS();
}
