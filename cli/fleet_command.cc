#include "cli/fleet_command.h"

#include <signal.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "base/file.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "cli/proto_json.h"
#include "fleet/sim/fault_plan.h"
#include "fleet/sim/trial.h"
#include "fleet/sim/trial_text.h"
#include "fleet/wire/wire_fleet.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::cli {
namespace {

using std::chrono::seconds;

volatile std::sig_atomic_t interrupted = 0;

void OnSignal(int) { interrupted = 1; }

// Below this, nodes are looked at every 2 s as well, so that false hangs of
// long phases would be seen; above, at the steps' ends, which costs less.
constexpr std::int32_t kRanksWithBeats = 2000;

absl::StatusOr<fleet::FleetProfile> ReadProfile(const std::string& name) {
  if (name == "default") return fleet::DefaultProfile();
  if (name == "healthy") return fleet::HealthyProfile();
  const absl::StatusOr<std::string> text = ReadFile(name, 1 << 20);
  if (!text.ok()) {
    return absl::InvalidArgumentError(fmt::format(
        "--profile {}: expected default, healthy or a TOML file; {}", name,
        std::string(text.status().message())));
  }
  return fleet::ParseProfile(*text, name);
}

// A line on stderr now and then, when the work takes long enough to wonder.
class Progress {
 public:
  explicit Progress(std::int64_t total) : total_(total) {
    begun_ = shown_ = clock_.MonoNow();
  }
  bool Show(Step step) {
    const MonoTime now = clock_.MonoNow();
    if (now - shown_ >= seconds(2)) {
      shown_ = now;
      const double rate =
          static_cast<double>(step.value) / ToSeconds(now - begun_);
      std::fprintf(stderr, "step %lld of %lld, %.0f steps a second\n",
                   static_cast<long long>(step.value),
                   static_cast<long long>(total_), rate);
    }
    return !IsInterrupted();
  }

 private:
  const SystemClock clock_;
  const std::int64_t total_;
  MonoTime begun_;
  MonoTime shown_;
};

absl::Status WriteOut(const std::string& directory, const std::string& truth,
                      const std::string& findings) {
  if (directory.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(MakeDirectories(directory));
  RETURN_IF_ERROR(WriteFileAtomically(directory + "/truth.csv", truth));
  return WriteFileAtomically(directory + "/findings.csv", findings);
}

absl::Status RunInProcess(const FleetOptions& options, fleet::JobOptions job) {
  fleet::TrialOptions trial;
  trial.job = job;
  if (options.ranks <= kRanksWithBeats) trial.beat = seconds(2);
  Progress progress(options.steps);
  trial.progress = [&progress](Step step) { return progress.Show(step); };
  const fleet::TrialResult result = fleet::Trial(std::move(trial)).Run();
  RETURN_IF_ERROR(WriteOut(options.out,
                           fleet::TruthCsv(result.faults, result.start),
                           fleet::FindingsCsv(result)));
  const std::string text = options.json ? fleet::TrialJson(result, job)
                                        : fleet::TrialText(result, job);
  std::fputs(text.c_str(), stdout);
  return absl::OkStatus();
}

std::string IncidentsCsv(const v1::ListIncidentsReply& reply) {
  std::string csv = "id,kind,node,rank,step,onset_unix_ms,detected_unix_ms\n";
  for (const v1::Incident& incident : reply.incidents()) {
    csv += fmt::format("{},{},{},{},{},{},{}\n", incident.id(), incident.kind(),
                       incident.culprit().node(), incident.culprit().rank(),
                       incident.step(), incident.onset_unix_ms(),
                       incident.detected_unix_ms());
  }
  return csv;
}

absl::Status RunOverWire(const FleetOptions& options,
                         const ClientOptions& client, fleet::JobOptions job) {
  fleet::WireOptions wire;
  wire.server = options.server;
  wire.token = client.token;
  wire.ca_file = client.ca_file;
  job.profile = job.profile.Paced(1 / options.speed);
  wire.job = std::move(job);
  // Two, or the 1 % that a fleet of this size needs within a day.
  wire.spares = 2 + options.ranks / (100 * 8);
  const SystemClock clock;
  ASSIGN_OR_RETURN(const std::unique_ptr<fleet::WireFleet> fleet,
                   fleet::WireFleet::Create(std::move(wire), &clock));
  RETURN_IF_ERROR(fleet->Launch());
  Progress progress(options.steps);
  fleet->Run([&] { return progress.Show(fleet->job().LastStep()); });

  ClientOptions asked = client;
  asked.server = options.server;
  ASSIGN_OR_RETURN(Client questions, Client::Connect(asked));
  v1::ListIncidentsRequest request;
  request.set_run(options.run);
  v1::ListIncidentsReply reply;
  RETURN_IF_ERROR(questions.Call(&v1::OperatorService::Stub::ListIncidents,
                                 request, &reply));
  const std::string truth =
      fleet::TruthCsv(fleet->job().Faults(), fleet->Start());
  RETURN_IF_ERROR(WriteOut(options.out, truth, IncidentsCsv(reply)));
  if (options.json) {
    std::puts(ToJson(reply).dump(2).c_str());
    return absl::OkStatus();
  }
  std::printf("The truth\n%s\nWhat the server found\n%s", truth.c_str(),
              IncidentsCsv(reply).c_str());
  return absl::OkStatus();
}

}  // namespace

void CatchSignals() {
  struct sigaction action {};
  action.sa_handler = OnSignal;
  // A second Ctrl-C ends the program at once.
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

bool IsInterrupted() { return interrupted != 0; }

absl::Status RunFleet(const FleetOptions& options,
                      const ClientOptions& client) {
  if (options.in_process && !options.server.empty()) {
    return absl::InvalidArgumentError(
        "--in-process and --server exclude each other: choose one");
  }
  RETURN_IF_ERROR(SetupLogging({.level = "warn", .file = ""}));
  fleet::JobOptions job;
  job.run = options.run;
  ASSIGN_OR_RETURN(job.profile, ReadProfile(options.profile));
  job.ranks = options.ranks;
  job.steps = options.steps;
  job.seed = options.seed;
  job.checkpoint_directory = "/simulated/" + options.run;
  const std::int32_t per_node = job.profile.job.ranks_per_node;
  if (options.ranks % per_node != 0) {
    return absl::InvalidArgumentError(fmt::format(
        "--ranks {}: expected a multiple of the profile's ranks_per_node, {}",
        options.ranks, per_node));
  }
  job.faults = fleet::PlanFaults(job.profile,
                                 {options.ranks, options.steps, options.seed});
  CatchSignals();
  return options.server.empty() ? RunInProcess(options, std::move(job))
                                : RunOverWire(options, client, std::move(job));
}

}  // namespace steadyrun::cli
