// steadyrun: the operator's command line. Questions and actions go to the
// server over gRPC; nothing is decided here.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "base/nearest_word.h"
#include "base/version.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/fleet_command.h"
#include "proto/messages/log_format.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::cli {
namespace {

using Command = std::function<absl::Status(Context&)>;

// 0 done, 1 failed or refused, 2 wrong usage, 3 server not reached.
int ExitCode(const absl::Status& status) {
  if (status.ok()) return 0;
  if (absl::IsUnavailable(status)) return 3;
  return 1;
}

struct Parsed {
  ClientOptions client;
  std::string output = "text";
  Command command;
};

class CommandLine {
 public:
  explicit CommandLine(Parsed& parsed) : parsed_(parsed) {
    app_.set_version_flag("--version", std::string("steadyrun ") + kVersion);
    app_.require_subcommand(1);
    app_.add_option("--server", parsed.client.server,
                    "gRPC address of steadyrun-server")
        ->envname("STEADYRUN_SERVER")
        ->capture_default_str();
    app_.add_option("--token", parsed.client.token,
                    "bearer token (better in the environment)")
        ->envname("STEADYRUN_TOKEN");
    app_.add_option("--ca", parsed.client.ca_file,
                    "use TLS and trust this CA file")
        ->envname("STEADYRUN_CA");
    app_.fallthrough();
    AddQuestions();
    AddPolicy();
    AddActions();
    AddLaunch();
    AddFleet();
    AddDemo();
    AddReplay();
  }

  CLI::App& app() { return app_; }

 private:
  CLI::App* Add(const std::string& name, const std::string& help,
                Command command) {
    return AddTo(app_, name, help, std::move(command));
  }

  CLI::App* AddTo(CLI::App& parent, const std::string& name,
                  const std::string& help, Command command) {
    CLI::App* sub = parent.add_subcommand(name, help);
    sub->add_option("-o,--output", parsed_.output, "text, wide or json")
        ->check(CLI::IsMember({"text", "wide", "json"}));
    sub->callback(
        [this, command = std::move(command)] { parsed_.command = command; });
    return sub;
  }

  void AddQuestions() {
    Add("runs", "all runs, worst first",
        [](Context& context) { return ShowRuns(context); });
    auto* status =
        Add("status", "one run: what is going on, why, what next",
            [this](Context& context) { return ShowStatus(context, run_); });
    status->add_option("RUN", run_, "run; all of them without");
    auto* top = Add(
        "top", "the fleet, redrawn until Ctrl-C",
        [this](Context& context) { return Top(context, interval_, once_); });
    top->add_option("--interval", interval_, "seconds between pictures")
        ->check(CLI::Range(0.2, 3600.0))
        ->capture_default_str();
    top->add_flag("--once", once_, "print one picture");
    auto* incidents = Add("incidents", "what went wrong, newest last",
                          [this](Context& context) {
                            return ShowIncidents(context, run_, only_open_);
                          });
    incidents->add_option("RUN", run_, "run; all of them without");
    incidents->add_flag("--open", only_open_, "only those that are open");
    auto* explain =
        Add("explain", "one incident: cause, evidence, timeline",
            [this](Context& context) { return ExplainIncident(context, id_); });
    explain->add_option("INCIDENT", id_, "as printed by incidents: RUN:NUMBER")
        ->required();
    Add("nodes", "agents and the ranks they serve",
        [](Context& context) { return ShowNodes(context); });
    auto* checkpoints = Add(
        "checkpoints", "the ledger of a run's checkpoints",
        [this](Context& context) { return ShowCheckpoints(context, run_); });
    checkpoints->add_option("RUN", run_, "run")->required();
    auto* report = Add("report", "the stability report of a run",
                       [this](Context& context) {
                         if (json_) context.output = Output::kJson;
                         return ShowReport(context, run_);
                       });
    report->add_option("RUN", run_, "run")->required();
    report->add_flag("--json", json_, "the same as -o json");
    auto* audit = Add(
        "audit", "who ordered what, and why",
        [this](Context& context) { return ShowAudit(context, run_, limit_); });
    audit->add_option("RUN", run_, "run; all of them without");
    audit->add_option("--limit", limit_, "newest N rows")
        ->capture_default_str();
    Add("doctor", "look for what is wrong with the installation",
        [](Context& context) { return Doctor(context); });
  }

  void AddPolicy() {
    CLI::App& policy = *app_.add_subcommand(
        "policy",
        "what Steadyrun may do by itself, every key with its effective value\n"
        "Exit codes: 0 printed; 1 the file or run is wrong, each mistake named "
        "with its line; 2 wrong usage; 3 no server (show).");
    policy.require_subcommand(1);
    policy.fallthrough();
    AddTo(policy, "show", "the policy of a run",
          [this](Context& context) { return ShowPolicy(context, run_); })
        ->add_option("RUN", run_, "run")
        ->required();
    AddTo(policy, "check", "the policy in a file, before a run is given it",
          [this](Context& context) {
            return ShowPolicyFile(context.output, policy_file_);
          })
        ->add_option("FILE", policy_file_, "policy file (TOML)")
        ->required()
        ->check(CLI::ExistingFile);
    AddTo(policy, "default", "the policy of a run that is given none",
          [](Context& context) { return ShowPolicyFile(context.output, ""); });
  }

  CLI::App* AddAction(const std::string& name, const std::string& help,
                      v1::Action action) {
    auto* sub = Add(name, help, [this, action](Context& context) {
      action_.action = action;
      return Act(context, action_);
    });
    sub->add_option("--reason", action_.reason,
                    "why; kept in the audit table; asked for on a terminal");
    sub->add_option("--request-id", action_.request_id,
                    "makes a repetition harmless; fresh by default");
    return sub;
  }

  CLI::App* AddRunAction(const std::string& name, const std::string& help,
                         v1::Action action) {
    auto* sub = AddAction(name, help, action);
    sub->add_option("RUN", action_.run, "run")->required();
    sub->add_flag("--wait", action_.wait, "return when it has taken effect");
    return sub;
  }

  void AddActions() {
    AddRunAction("checkpoint", "save the same step on all ranks and go on",
                 v1::ACTION_CHECKPOINT);
    AddRunAction("pause", "save, then stop all ranks; resumable",
                 v1::ACTION_PAUSE);
    AddRunAction("resume", "go on from paused or halted", v1::ACTION_RESUME);
    AddRunAction("restart", "stop, then start from the newest good checkpoint",
                 v1::ACTION_RESTART);
    AddRunAction("rollback", "stop, then start from the checkpoint of a step",
                 v1::ACTION_ROLLBACK)
        ->add_option("--to", action_.step, "step of the checkpoint")
        ->required();
    AddRunAction("stop", "end the run for good", v1::ACTION_STOP);
    AddAction("quarantine", "keep a node out of later attempts",
              v1::ACTION_QUARANTINE)
        ->add_option("NODE", action_.node, "node")
        ->required();
    AddAction("release", "let a quarantined node serve again",
              v1::ACTION_RELEASE)
        ->add_option("NODE", action_.node, "node")
        ->required();
    AddAction("mute", "no notifications of a run for a while", v1::ACTION_MUTE);
    auto* mute = app_.get_subcommand("mute");
    mute->add_option("RUN", action_.run, "run")->required();
    mute->add_option("--for", action_.mute_seconds, "such as 2h or 30m")
        ->required()
        ->transform(CLI::AsNumberWithUnit(
            std::map<std::string, std::int64_t>{
                {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}},
            CLI::AsNumberWithUnit::UNIT_REQUIRED));
    AddRunAction("unmute", "notifications of a run again", v1::ACTION_UNMUTE);
    AddRunAction("hold", "stop and start nothing of a run by itself",
                 v1::ACTION_HOLD);
    AddRunAction("unhold", "let automatic recovery go on", v1::ACTION_UNHOLD);
  }

  void AddLaunch() {
    auto* run = Add("run", "launch a training run over the agents",
                    [this](Context& context) {
                      for (const std::string& word : command_) {
                        launch_.spec.add_argv(word);
                      }
                      launch_.spec.set_run(name_);
                      launch_.spec.set_nodes(nodes_);
                      launch_.spec.set_ranks_per_node(ranks_per_node_);
                      launch_.spec.set_target_steps(steps_);
                      launch_.spec.set_checkpoint_directory(checkpoint_dir_);
                      launch_.spec.set_working_directory(working_dir_);
                      launch_.spec.set_log_format(log_format_);
                      launch_.spec.set_log_path(log_path_);
                      return Launch(context, launch_);
                    });
    run->add_option("--name", name_, "name of the run")->required();
    run->add_option("--nodes", nodes_, "nodes")
        ->check(CLI::Range(1, 100000))
        ->capture_default_str();
    run->add_option("--ranks-per-node", ranks_per_node_, "processes a node")
        ->check(CLI::Range(1, 4096))
        ->capture_default_str();
    run->add_option("--steps", steps_, "steps of the whole run; 0 unknown")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    run->add_option("--checkpoint-dir", checkpoint_dir_,
                    "seen by all nodes; default ./checkpoints/NAME");
    run->add_option("--cwd", working_dir_, "of the ranks; default: here");
    run->add_option("--policy", launch_.policy_file, "policy file (TOML)")
        ->check(CLI::ExistingFile);
    run->add_option("--env", launch_.environment,
                    "NAME=value for the ranks; may be repeated");
    run->add_option(
        "--log-format", log_format_,
        "follow the ranks' output (stdout and stderr) for steps, loss and "
        "metrics; for training code that is not changed. 'auto' tells the "
        "format from the first lines that print a step, and the agent's "
        "log says which it is. One of: " +
            KnownLogFormats());
    run->add_option(
        "--log-path", log_path_,
        "read this instead of the output: a file of lines, or the directory of "
        "tensorboard or deepspeed-csv. With {rank} in it each rank has its "
        "own; without, rank 0's agent reads it");
    run->add_option("--request-id", launch_.request_id,
                    "makes a repetition harmless; fresh by default");
    run->add_flag("--follow", launch_.follow,
                  "print progress until the run ends");
    run->add_option("COMMAND", command_, "after --: what each rank executes")
        ->required();
    run->positionals_at_end();
  }

  void AddFleet() {
    auto* fleet =
        Add("fleet", "a simulated fleet with ground truth, judged",
            [this](Context&) { return RunFleet(fleet_, parsed_.client); });
    fleet->add_option("--ranks", fleet_.ranks, "simulated ranks")
        ->check(CLI::Range(8, 1'000'000))
        ->capture_default_str();
    fleet->add_option("--steps", fleet_.steps, "steps of the run")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40))
        ->capture_default_str();
    fleet->add_option("--seed", fleet_.seed, "equal seeds, equal runs")
        ->capture_default_str();
    fleet
        ->add_option("--profile", fleet_.profile,
                     "default, healthy, or a TOML file (docs/fleet.md)")
        ->capture_default_str();
    auto* server = fleet->add_option(
        "--server", fleet_.server,
        "over the real protocol, at this server; without: in process");
    fleet
        ->add_flag("--in-process", fleet_.in_process,
                   "with the detectors alone, on simulated time")
        ->excludes(server);
    fleet
        ->add_option("--speed", fleet_.speed,
                     "with --server: times as fast as the profile")
        ->check(CLI::Range(0.001, 10'000.0))
        ->capture_default_str();
    fleet->add_option("--run", fleet_.run, "name of the run")
        ->capture_default_str();
    fleet->add_option("--out", fleet_.out,
                      "directory for truth.csv and findings.csv");
    fleet->add_flag("--json", fleet_.json, "print JSON");
  }

  void AddDemo() {
    auto* demo = Add("demo", "a simulated cluster with faults, to look at",
                     [this](Context&) { return RunDemo(demo_); });
    demo->add_option("--ranks", demo_.ranks, "simulated ranks")
        ->check(CLI::Range(32, 100'000))
        ->capture_default_str();
    demo->add_option("--speed", demo_.speed,
                     "times as fast as steps of 10 s; default by size")
        ->check(CLI::Range(0.1, 1000.0));
    demo->add_option("--seed", demo_.seed, "equal seeds, equal culprits")
        ->capture_default_str();
    demo->add_option("--port", demo_.port, "of the dashboard; default: free")
        ->check(CLI::Range(0, 65535));
    demo->add_option("--fault", demo_.fault, "only this kind, once");
    demo->add_option("--exit-after", demo_.exit_after, "end after seconds")
        ->check(CLI::NonNegativeNumber);
    demo->add_option("--server-binary", demo_.server_binary,
                     "steadyrun-server; default: beside this program")
        ->check(CLI::ExistingFile);
  }

  void AddReplay() {
    auto* backtest = Add(
        "backtest",
        "what the detectors and a policy would have said of a recorded run\n"
        "Exit codes: 0 replayed, whatever was found; 1 a file, run or policy "
        "is "
        "wrong; 2 wrong usage; 3 no server (with --run).",
        [this](Context& context) {
          if (json_) context.output = Output::kJson;
          return backtest_.run.empty() ? BacktestFile(context.output, backtest_)
                                       : BacktestRun(context, backtest_);
        });
    auto* source = backtest->add_option_group("recording");
    auto* steps = source->add_option(
        "--steps", backtest_.steps_file,
        "CSV with a column 'step', TensorBoard event file, "
        "trainer_state.json, or a log; told apart by itself");
    auto* run = source->add_option(
        "--run", backtest_.run,
        "a run of the server: what --policy would have done over its history");
    source->require_option(1);
    backtest
        ->add_option("--labels", backtest_.labels_file,
                     "CSV start_step,end_step,kind: print the score")
        ->needs(steps);
    backtest
        ->add_option("--from-attempt", backtest_.from_attempt,
                     "leave out the attempts before this one")
        ->check(CLI::NonNegativeNumber)
        ->needs(run);
    backtest->add_option("--policy", backtest_.policy_file,
                         "policy file (TOML); the default policy without");
    backtest->add_flag("--json", json_, "the same as -o json");
    auto* parse =
        Add("parse", "a recording as CSV that backtest reads",
            [this](Context& context) { return Parse(context.output, parse_); });
    parse->add_option("FILE", parse_.file, "recording")->required();
    parse->add_flag("--explain", parse_.explain,
                    "print what matched, line by line, instead");
    parse->add_flag("--all", parse_.all,
                    "with --explain: lines that did not match, too");
    parse->add_option("--format", parse_.format,
                      "read it as this log format: " + LineLogFormats());
  }

  Parsed& parsed_;
  CLI::App app_{
      "Steadyrun keeps large training runs on course.\n"
      "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no server."};
  std::string run_;
  std::string id_;
  std::string policy_file_;
  double interval_ = 1.0;
  bool once_ = false;
  bool only_open_ = false;
  bool json_ = false;
  int limit_ = 100;
  ActionOptions action_;
  LaunchOptions launch_;
  BacktestOptions backtest_;
  ParseOptions parse_;
  std::string name_;
  int nodes_ = 1;
  int ranks_per_node_ = 1;
  std::int64_t steps_ = 0;
  std::string checkpoint_dir_;
  std::string working_dir_;
  std::string log_format_;
  std::string log_path_;
  std::vector<std::string> command_;
  FleetOptions fleet_;
  DemoOptions demo_;
};

// CLI11 only says that a subcommand is required when one is mistyped.
void SuggestCommand(const CLI::App& app, int argc, char** argv) {
  std::vector<std::string> names;
  for (const auto* sub : app.get_subcommands({})) {
    names.push_back(sub->get_name());
  }
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.empty() || word[0] == '-') continue;
    if (std::find(names.begin(), names.end(), word) != names.end()) return;
    const std::string nearest = NearestWord(word, names);
    if (!nearest.empty()) {
      std::fprintf(stderr, "'%s' is no command; did you mean '%s'?\n",
                   word.c_str(), nearest.c_str());
    }
    return;
  }
}

int Main(int argc, char** argv) {
  Parsed parsed;
  CommandLine line(parsed);
  try {
    line.app().parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = line.app().exit(error);
    if (code == 0) return 0;  // --help, --version
    SuggestCommand(line.app(), argc, argv);
    return 2;
  }
  auto client = Client::Connect(parsed.client);
  absl::Status status = client.status();
  if (client.ok()) {
    Context context{*client, parsed.output == "json"   ? Output::kJson
                             : parsed.output == "wide" ? Output::kWide
                                                       : Output::kText};
    status = parsed.command(context);
  }
  if (!status.ok()) {
    std::fprintf(stderr, "steadyrun: %s\n",
                 std::string(status.message()).c_str());
  }
  return ExitCode(status);
}

}  // namespace
}  // namespace steadyrun::cli

int main(int argc, char** argv) { return steadyrun::cli::Main(argc, argv); }
