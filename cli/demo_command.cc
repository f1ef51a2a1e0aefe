// `steadyrun demo`: a server of its own, a simulated fleet on the real ingest
// path, and a tour of faults.

#include <algorithm>
#include <cstdio>
#include <memory>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/logging.h"
#include "base/nearest_word.h"
#include "base/status_macros.h"
#include "cli/child_server.h"
#include "cli/fleet_command.h"
#include "fleet/sim/fault_plan.h"
#include "fleet/sim/random.h"
#include "fleet/wire/wire_fleet.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::cli {
namespace {

using fleet::Fault;
using fleet::FaultKind;
using fleet::FaultScope;
using std::chrono::seconds;

constexpr char kRun[] = "demo";
// Hours of it, should somebody leave it running over the day.
constexpr double kLongest = 12 * 3600;
constexpr int kMostTours = 300;

// One stop of the tour: when, in seconds of training after the first step (a
// recovery is not training), what, and what to look at.
struct Stop {
  double at;
  FaultKind kind;
  FaultScope scope;
  double severity;
  double seconds;  // How long it lasts; 0: until it is answered.
  double variant;
  std::string_view words;
};

constexpr Stop kTour[] = {
    {5, FaultKind::kCrash, FaultScope::kRank, 0, 0, 0.1,
     "a rank dies of an ECC error, its peers of lost connections: one "
     "incident, the first cause named, a restart"},
    {10, FaultKind::kStraggler, FaultScope::kNode, 0.4, 25, 0.5,
     "a node computes 40 % slower: see the heatmap"},
    {18, FaultKind::kAgentLost, FaultScope::kNode, 8, 0, 0.5,
     "an agent dies for 8 s: a warning, and the training goes on"},
    {30, FaultKind::kHang, FaultScope::kRank, 0, 0, 0.1001,
     "a rank's process is stopped: who did not arrive is named"},
    {38, FaultKind::kNan, FaultScope::kRank, 0, 0, 0.5,
     "a loss becomes NaN: rollback to a checkpoint before it"},
    {46, FaultKind::kNodeLost, FaultScope::kNode, 0, 0, 0.9,
     "a node falls silent for good: a spare takes its place"},
    {56, FaultKind::kSpikeBenign, FaultScope::kJob, 1.5, 4, 0.5,
     "the loss jumps and comes back by itself: no action"},
    {66, FaultKind::kDataStall, FaultScope::kRank, 1.5, 10, 0.5,
     "a rank waits for its data"},
    {80, FaultKind::kCorruption, FaultScope::kRank, 0, 20, 0.5,
     "one replica's parameters differ: found by vote"},
    {104, FaultKind::kSpikeMalignant, FaultScope::kJob, 2, 40, 0.5,
     "the loss jumps and stays: a rollback is advised"},
    {150, FaultKind::kSlowdown, FaultScope::kJob, 0.5, 30, 0.5,
     "everything becomes slower by half"},
};
constexpr double kTourSeconds = 200;

absl::StatusOr<FaultKind> KindOf(const std::string& word) {
  std::vector<std::string> words;
  for (std::size_t k = 0; k < fleet::kFaultKinds; ++k) {
    words.emplace_back(fleet::FaultKindName(static_cast<FaultKind>(k)));
    if (words.back() == word) return static_cast<FaultKind>(k);
  }
  const std::string nearest = NearestWord(word, words);
  return absl::InvalidArgumentError(
      fmt::format("--fault {}: unknown{}", word,
                  nearest.empty() ? "" : ", did you mean " + nearest + "?"));
}

// While a run is stopped the service looks at all nodes for each heartbeat of
// one, so that a demo of thousands of ranks on one busy machine has few and
// large ones.
std::int32_t RanksPerNode(std::int32_t ranks) {
  constexpr std::int32_t kMostNodes = 400;
  for (const std::int32_t size : {8, 16, 20, 32, 40, 64, 80, 100, 128, 250}) {
    if (ranks % size == 0 && ranks / size <= kMostNodes) return size;
  }
  return 8;
}

fleet::FleetProfile DemoProfile(const DemoOptions& options) {
  fleet::FleetProfile profile = fleet::HealthyProfile();
  profile.name = "demo";
  profile.job.ranks_per_node = RanksPerNode(options.ranks);
  // About 0.2 s a step with the wait for the slowest rank, which shows
  // something happening; for ten thousand ranks a second, which two busy cores
  // can serve.
  const double step = options.speed > 0
                          ? profile.job.step_seconds / options.speed
                          : std::clamp(options.ranks / 12'500.0, 0.16, 0.8);
  profile = profile.Paced(step / profile.job.step_seconds);
  profile.job.start_seconds = 0.5;
  profile.phases.warm_up_factor = 1.5;
  profile.phases.checkpoint_steps = 20;
  profile.phases.checkpoint_seconds = 2 * step;
  profile.phases.evaluation_steps = 330;
  profile.phases.evaluation_seconds = 8 * step;
  profile.curve.hash_steps = 25;
  return profile;
}

Fault FaultOf(const Stop& stop, double at, const fleet::FleetProfile& profile,
              std::int32_t ranks, fleet::Random& random) {
  // The slowest of many ranks takes a quarter more than the median one.
  const double step_seconds = 1.25 * profile.job.step_seconds;
  const auto steps = [&](double duration) {
    return std::max<std::int64_t>(
        1, static_cast<std::int64_t>(duration / step_seconds));
  };
  Fault fault =
      fleet::DrawFault(stop.kind, Step{steps(at)}, profile, ranks, random);
  fault.scope = stop.scope;
  fault.severity = stop.severity;
  fault.variant = stop.variant;
  fault.steps = stop.seconds > 0 ? steps(stop.seconds) : 0;
  const std::int32_t per_node = profile.job.ranks_per_node;
  if (stop.scope == FaultScope::kRank) {
    fault.rank = Rank{static_cast<std::int32_t>(random.Below(ranks))};
    fault.ranks = 1;
  } else if (stop.scope == FaultScope::kNode) {
    const auto node = random.Below(ranks / per_node);
    fault.rank = Rank{static_cast<std::int32_t>(node) * per_node};
    fault.ranks = per_node;
  }
  return fault;
}

// The tour, again and again, each time with other culprits.
std::vector<Fault> Script(const DemoOptions& options,
                          const fleet::FleetProfile& profile,
                          std::optional<FaultKind> only) {
  std::vector<Fault> faults;
  fleet::Random random(options.seed, 401);
  if (only.has_value()) {
    Stop stop{5, *only, FaultScope::kRank, 0, 0, 0.1, ""};
    for (const Stop& other : kTour) {
      if (other.kind == *only) stop = other;
    }
    faults.push_back(FaultOf(stop, 5, profile, options.ranks, random));
  }
  for (int tour = 0; !only.has_value() && tour < kMostTours; ++tour) {
    for (const Stop& stop : kTour) {
      faults.push_back(FaultOf(stop, tour * kTourSeconds + stop.at, profile,
                               options.ranks, random));
    }
  }
  for (std::size_t i = 0; i < faults.size(); ++i) {
    faults[i].id = static_cast<std::int32_t>(i) + 1;
  }
  return faults;
}

void PrintPlan(const DemoOptions& options, const ChildServer& server,
               const fleet::FleetProfile& profile, bool is_tour) {
  std::printf(
      "SIMULATED: %d ranks on %d nodes, steps of about %.2g s. No GPU, no "
      "training; "
      "server,\ndetectors, policy and recovery are the real ones.\n\n"
      "  dashboard  %s\n"
      "  shell      steadyrun --server %s incidents %s\n"
      "  logs       %s/server.log (removed at the end)\n\n",
      options.ranks, options.ranks / profile.job.ranks_per_node,
      1.25 * profile.job.step_seconds, server.DashboardUrl().c_str(),
      server.GrpcAddress().c_str(), kRun, server.Directory().c_str());
  if (is_tour) {
    std::printf("What will happen, in seconds of training:\n");
    for (const Stop& stop : kTour) {
      std::printf("  %4.0f  %-18s %s\n", stop.at,
                  std::string(fleet::FaultKindName(stop.kind)).c_str(),
                  std::string(stop.words).c_str());
    }
    std::printf("and again with other culprits. ");
  }
  std::printf("Ctrl-C ends everything.\n\n");
  std::fflush(stdout);
}

// Tells what strikes, and what the server makes of it.
class Commentary {
 public:
  Commentary(Client client, MonoTime start)
      : client_(std::move(client)), start_(start) {}

  void Tell(const fleet::Job& job, MonoTime now) {
    for (const Fault& fault : job.Faults()) {
      if (!fault.has_struck || !told_.insert(fault.id).second) continue;
      const std::string where =
          fault.rank == kNoRank ? "the whole job"
          : fault.ranks == 1
              ? fmt::format("rank {} on {}", fault.rank.value, fault.node)
              : fault.node;
      Say(now, fmt::format("step {}: {} strikes {}{}", fault.onset.value,
                           fleet::FaultKindName(fault.kind), where,
                           fault.comment.empty() ? "" : ", " + fault.comment));
    }
    if (now < next_question_) return;
    next_question_ = now + seconds(1);
    v1::ListIncidentsRequest request;
    request.set_run(kRun);
    v1::ListIncidentsReply reply;
    if (!client_
             .Call(&v1::OperatorService::Stub::ListIncidents, request, &reply)
             .ok()) {
      return;  // Asked again; Check() tells if the server is gone.
    }
    for (const v1::Incident& incident : reply.incidents()) {
      std::string line = fmt::format("  -> {} {}: {}", incident.id(),
                                     incident.kind(), incident.reason());
      std::string& shown = shown_[incident.id()];
      if (shown == line) continue;
      Say(now, line);
      shown = std::move(line);
    }
  }

 private:
  void Say(MonoTime now, const std::string& line) const {
    std::printf("%7.1f s  %s\n", ToSeconds(now - start_), line.c_str());
    std::fflush(stdout);
  }

  Client client_;
  const MonoTime start_;
  std::set<std::int32_t> told_;
  std::map<std::string, std::string> shown_;
  MonoTime next_question_;
};

}  // namespace

absl::Status RunDemo(const DemoOptions& options) {
  RETURN_IF_ERROR(SetupLogging({.level = "error", .file = ""}));
  std::optional<FaultKind> only;
  if (!options.fault.empty()) {
    ASSIGN_OR_RETURN(only, KindOf(options.fault));
  }
  const fleet::FleetProfile profile = DemoProfile(options);
  if (options.ranks % profile.job.ranks_per_node != 0) {
    return absl::InvalidArgumentError(
        fmt::format("--ranks {}: expected a multiple of {}", options.ranks,
                    profile.job.ranks_per_node));
  }
  CatchSignals();
  ASSIGN_OR_RETURN(const std::unique_ptr<ChildServer> server,
                   ChildServer::Start(options.server_binary, options.port));
  PrintPlan(options, *server, profile, !only.has_value());

  const SystemClock clock;
  const MonoTime start = clock.MonoNow();
  fleet::WireOptions wire;
  wire.server = server->GrpcAddress();
  wire.job.run = kRun;
  wire.job.profile = profile;
  wire.job.ranks = options.ranks;
  wire.job.steps =
      static_cast<std::int64_t>(kLongest / profile.job.step_seconds);
  wire.job.seed = options.seed;
  wire.job.checkpoint_directory = "/simulated/demo";
  wire.job.faults = Script(options, profile, only);
  ASSIGN_OR_RETURN(const std::unique_ptr<fleet::WireFleet> fleet,
                   fleet::WireFleet::Create(std::move(wire), &clock));
  if (const absl::Status launched = fleet->Launch(); !launched.ok()) {
    RETURN_IF_ERROR(server->Check());  // A better reason, if it has ended.
    return launched;
  }
  ClientOptions questions;
  questions.server = server->GrpcAddress();
  // Asked between the agents' turns, so that it must not hold them up.
  questions.timeout = seconds(1);
  ASSIGN_OR_RETURN(Client client, Client::Connect(questions));
  Commentary commentary(std::move(client), start);
  absl::Status health;
  fleet->Run([&] {
    const MonoTime now = clock.MonoNow();
    commentary.Tell(fleet->job(), now);
    health = server->Check();
    return health.ok() && !IsInterrupted() &&
           (options.exit_after <= 0 ||
            ToSeconds(now - start) < options.exit_after);
  });
  return health;
}

}  // namespace steadyrun::cli
