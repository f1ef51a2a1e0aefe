#include "fleet/wire/wire_fleet.h"

#include <grpcpp/grpcpp.h>
#include <poll.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/digest.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "fleet/sim/random.h"
#include "spdlog/fmt/fmt.h"
#include "steadyrun/v1/operator.grpc.pb.h"

namespace steadyrun::fleet {
namespace {

using std::chrono::milliseconds;

// Streams a connection: a real agent has one each, but ten thousand ranks
// would need more descriptors than a process may open by default. Below the
// server's limit.
constexpr std::int32_t kStreamsPerChannel = 100;
// How often an agent looks at its ranks; a heartbeat follows every second.
constexpr Duration kPoll = milliseconds(250);
// The loop's own pace when nothing happens.
constexpr Duration kLongestWait = milliseconds(20);
constexpr std::size_t kInboxMessages = 1 << 16;

grpc::ChannelArguments Arguments() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

}  // namespace

WireFleet::WireFleet(WireOptions options, const Clock* clock)
    : options_(std::move(options)),
      clock_(clock),
      job_(options_.job),
      start_(clock->MonoNow()),
      inbox_(std::make_shared<agent::LinkInbox>(kInboxMessages)) {}

WireFleet::~WireFleet() {
  // All at once, then the wait for each; the channels go last.
  for (auto& agent : agents_) agent->Crash();
  for (auto& agent : agents_) agent->Stop();
}

absl::StatusOr<std::unique_ptr<WireFleet>> WireFleet::Create(
    WireOptions options, const Clock* clock) {
  std::unique_ptr<WireFleet> fleet(new WireFleet(std::move(options), clock));
  RETURN_IF_ERROR(fleet->Connect());
  return fleet;
}

absl::Status WireFleet::Connect() {
  std::shared_ptr<grpc::ChannelCredentials> credentials =
      grpc::InsecureChannelCredentials();
  if (!options_.ca_file.empty()) {
    grpc::SslCredentialsOptions tls;
    ASSIGN_OR_RETURN(tls.pem_root_certs, ReadFile(options_.ca_file));
    credentials = grpc::SslCredentials(tls);
  }
  Machines* const machines = this;
  const std::int32_t count = job_.Nodes() + options_.spares;
  for (std::int32_t i = 0; i < count; ++i) {
    if (i % kStreamsPerChannel == 0) {
      channels_.push_back(
          grpc::CreateCustomChannel(options_.server, credentials, Arguments()));
      stubs_.push_back(v1::AgentService::NewStub(channels_.back()));
    }
    WireAgentOptions agent;
    agent.index = i;
    agent.name = fmt::format("sim-{:05}", i);
    agent.token = options_.token;
    agent.seed =
        Random(options_.job.seed, 301, static_cast<std::uint64_t>(i)).Next() ^
        RandomU64();  // Two fleets on one server are two fleets.
    agents_.push_back(std::make_unique<WireAgent>(std::move(agent), machines,
                                                  stubs_.back().get(), inbox_));
  }
  const Now now = clock_->Both();
  first_rank_.assign(agents_.size(), -1);
  for (auto& agent : agents_) agent->Start({}, now);
  return absl::OkStatus();
}

absl::Status WireFleet::Launch() {
  const auto stub = v1::OperatorService::NewStub(channels_.front());
  v1::LaunchRequest request;
  request.set_request_id(RandomHex64());
  request.set_actor("fleet");
  v1::RunSpec* spec = request.mutable_spec();
  spec->set_run(options_.job.run);
  spec->add_argv("simulated");
  spec->set_nodes(job_.Nodes());
  spec->set_ranks_per_node(options_.job.profile.job.ranks_per_node);
  spec->set_working_directory("/");
  spec->set_checkpoint_directory(options_.job.checkpoint_directory);
  spec->set_target_steps(options_.job.steps);
  (*spec->mutable_environment())["STEADYRUN_SIMULATED"] = "1";
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(20));
  if (!options_.token.empty()) {
    context.AddMetadata("authorization", "Bearer " + options_.token);
  }
  v1::ActionReply reply;
  const grpc::Status status = stub->Launch(&context, request, &reply);
  if (status.ok()) return absl::OkStatus();
  return absl::Status(
      static_cast<absl::StatusCode>(status.error_code()),
      fmt::format("launch of run {} at {}: {}", options_.job.run,
                  options_.server, status.error_message()));
}

std::int32_t WireFleet::AgentsConnected() const {
  return static_cast<std::int32_t>(std::ranges::count_if(
      agents_, [](const auto& agent) { return agent->IsWelcome(); }));
}

void WireFleet::Run(const std::function<bool()>& keep_going) {
  std::size_t next = 0;  // Agents take turns, so that their beats are spread.
  MonoTime polled = clock_->MonoNow();
  while (!is_ended_ && keep_going()) {
    const MonoTime before = clock_->MonoNow();
    const Duration wait =
        std::clamp(job_.NextAt() == MonoTime::max() ? kLongestWait
                                                    : job_.NextAt() - before,
                   Duration::zero(), kLongestWait);
    pollfd readable{inbox_->fd(), POLLIN, 0};
    ::poll(&readable, 1,
           static_cast<int>(std::chrono::ceil<milliseconds>(wait).count()));
    const Now now = clock_->Both();
    TakeInbox(now);
    AdvanceJob(now);
    Revive(now);
    // As many agents as are due by now.
    const double due = ToSeconds(now.mono - polled) / ToSeconds(kPoll) *
                       static_cast<double>(agents_.size());
    const auto turns = std::min(agents_.size(), static_cast<std::size_t>(due));
    if (turns == 0) continue;
    polled = now.mono;
    for (std::size_t i = 0; i < turns; ++i) {
      ObserveRanks(static_cast<std::int32_t>(next), now);
      agents_[next]->Poll(now);
      next = (next + 1) % agents_.size();
    }
  }
}

void WireFleet::TakeInbox(Now now) {
  for (agent::LinkInbox::Item& item : inbox_->Take()) {
    const auto index = static_cast<std::size_t>(item.stream & 0xffffffff);
    agents_[index]->OnLink(item.stream, std::move(item.event), now);
  }
  // Deaths by order, told after the order itself is carried out.
  for (auto& [agent, exit] : std::exchange(killed_, {})) {
    agents_[static_cast<std::size_t>(agent)]->Tell(
        agent::RankGone{std::move(exit)}, now);
  }
  BeginIfAllAreThere(now);
}

// --- What agents ask for.

void WireFleet::Spawn(std::int32_t agent, const agent::SpawnRank& spawn) {
  if (spawn.attempt < attempt_) return;
  if (spawn.attempt > attempt_) {
    attempt_ = spawn.attempt;
    has_begun_ = false;
    spawned_.clear();
    first_rank_.assign(agents_.size(), -1);
    job_.End();
  }
  resume_ = spawn.start.resume_step;
  const std::int32_t rank = spawn.start.ranks.front().rank.value;
  spawned_[rank] = {agent, false};
  std::int32_t& first = first_rank_[static_cast<std::size_t>(agent)];
  first = first < 0 ? rank : std::min(first, rank);
}

void WireFleet::BeginIfAllAreThere(Now now) {
  if (has_begun_ ||
      spawned_.size() < static_cast<std::size_t>(options_.job.ranks)) {
    return;
  }
  std::vector<NodeId> nodes;
  for (const auto& [rank, spawned] : spawned_) {
    if (spawned.is_gone) return;  // Killed before all were there.
    nodes.push_back(agents_[static_cast<std::size_t>(spawned.agent)]->Name());
  }
  has_begun_ = true;
  job_.Begin(attempt_, std::move(nodes), resume_, now);
}

void WireFleet::Kill(std::int32_t agent, const agent::KillRanks& kill) {
  if (attempt_ >= kill.below) return;
  const Now now = clock_->Both();
  const std::int32_t first = first_rank_[static_cast<std::size_t>(agent)];
  if (first < 0) return;
  const std::int32_t node = job_.NodeOf(first);
  for (auto it = spawned_.find(first);
       !has_begun_ && it != spawned_.end() && it->second.agent == agent; ++it) {
    auto& [rank, spawned] = *it;
    if (spawned.is_gone) continue;
    spawned.is_gone = true;
    RankExited exit;
    exit.run = options_.job.run;
    exit.attempt = attempt_;
    exit.rank = Rank{rank};
    exit.exit = {0, 9};
    exit.exit_unix_ms = ToUnixMillis(now.wall);
    killed_.emplace_back(agent, std::move(exit));
  }
  if (!has_begun_) return;
  for (RankExited& exit : job_.KillNode(node, now.mono)) {
    spawned_[exit.rank.value].is_gone = true;
    killed_.emplace_back(agent, std::move(exit));
  }
}

bool WireFleet::OrderSave(const agent::WriteSaveWord& word) {
  return has_begun_ && word.attempt == attempt_ &&
         job_.OrderSave(word.save.step, word.save.then_stop);
}

void WireFleet::Forget(std::int32_t) { is_ended_ = true; }

// --- What the job shows.

void WireFleet::AdvanceJob(Now now) {
  if (!has_begun_) return;
  std::vector<Happening> happenings;
  job_.Advance(now.mono, &happenings);
  for (Happening& happening : happenings) {
    if (auto* row = std::get_if<StepRow>(&happening.what)) {
      SendRow(*row, now);
      continue;
    }
    const std::int32_t first = job_.RanksOf(happening.node).first;
    const std::int32_t index = spawned_[first].agent;
    WireAgent& agent = *agents_[static_cast<std::size_t>(index)];
    if (auto* exit = std::get_if<RankExited>(&happening.what)) {
      // Its last state first: what it was doing when it ended.
      spawned_[exit->rank.value].is_gone = true;
      agent.Tell(agent::RankGone{std::move(*exit)}, now);
    } else if (auto* shard = std::get_if<CheckpointShard>(&happening.what)) {
      agent.Tell(agent::ShardHashed{std::move(*shard)}, now);
    } else if (auto* end = std::get_if<RankFinished>(&happening.what)) {
      agent.Tell(agent::RankSaidFinished{std::move(*end)}, now);
    } else if (auto* silent = std::get_if<WentSilent>(&happening.what)) {
      GoSilent(*silent, happening.node, now);
      continue;
    }
    agent.Poll(now);
  }
}

void WireFleet::SendRow(const StepRow& row, Now now) {
  const auto world = static_cast<std::size_t>(row.world_size);
  for (std::int32_t node = 0; node < job_.Nodes(); ++node) {
    const auto [first, last] = job_.RanksOf(node);
    StepBlock block;
    block.run = options_.job.run;
    block.attempt = row.attempt;
    block.step = row.step;
    block.end_unix_ms = ToUnixMillis(now.wall);
    for (std::int32_t rank = first; rank < last; ++rank) {
      block.ranks.push_back(static_cast<std::uint32_t>(rank));
    }
    for (std::size_t m = 0; m < row.metrics.size(); ++m) {
      const auto begin =
          row.values.begin() + static_cast<std::ptrdiff_t>(m * world) + first;
      const auto end = begin + (last - first);
      const bool is_absent =
          std::all_of(begin, end, [](float x) { return IsAbsent(x); });
      if (is_absent) continue;
      std::uint32_t metric = row.metrics[m];
      if (metric >= kFirstNamedMetric) {
        block.names.push_back(row.names[metric - kFirstNamedMetric]);
        metric = kFirstNamedMetric +
                 static_cast<std::uint32_t>(block.names.size()) - 1;
      }
      block.metrics.push_back(metric);
      block.values.insert(block.values.end(), begin, end);
    }
    WireAgent& agent =
        *agents_[static_cast<std::size_t>(spawned_[first].agent)];
    agent.Tell(agent::StepsRead{std::move(block)}, now);
    agent.Poll(now);
  }
}

void WireFleet::GoSilent(const WentSilent& silent, std::int32_t node, Now now) {
  const auto [first, last] = job_.RanksOf(node);
  const std::int32_t index = spawned_[first].agent;
  agents_[static_cast<std::size_t>(index)]->Crash();
  if (silent.is_agent_only) {
    down_[index] = {now.mono + silent.for_time, false};
    return;
  }
  for (const RankExited& exit : job_.KillNode(node, now.mono)) {
    spawned_[exit.rank.value].is_gone = true;  // Nobody tells of it.
  }
  down_[index] = {now.mono + options_.reboot, true};
}

void WireFleet::Revive(Now now) {
  for (auto it = down_.begin(); it != down_.end();) {
    const auto [until, is_reboot] = it->second;
    if (now.mono < until) {
      ++it;
      continue;
    }
    WireAgent& agent = *agents_[static_cast<std::size_t>(it->first)];
    if (is_reboot) agent.Reboot();
    agent.Start(
        is_reboot ? std::vector<NodeRunState>() : SurvivorsOf(it->first, now),
        now);
    it = down_.erase(it);
  }
}

// What a restarted agent finds: its ranks, and the records of those that ended.
std::vector<NodeRunState> WireFleet::SurvivorsOf(std::int32_t agent, Now now) {
  NodeRunState run;
  run.run = options_.job.run;
  run.floor = attempt_;
  run.started = attempt_;
  for (const auto& [rank, spawned] : spawned_) {
    if (spawned.agent != agent) continue;
    RankState state = job_.StateOf(rank, now.mono);
    if (!has_begun_ || spawned.is_gone) continue;
    state.life = RankLife::kAlive;  // Until its record is read.
    run.ranks.push_back(std::move(state));
  }
  if (run.ranks.empty()) return {};
  return {std::move(run)};
}

// Ends are told when they happen; of one that came while the agent was away,
// its record lies there.
void WireFleet::TellLateExit(std::int32_t agent, const RankState& state,
                             Now now) {
  if (state.exit_age < std::chrono::seconds(1)) return;
  spawned_[state.rank.value].is_gone = true;
  RankExited exit;
  exit.run = options_.job.run;
  exit.attempt = attempt_;
  exit.rank = state.rank;
  exit.exit = state.exit;
  exit.step = state.step;
  exit.phase = state.phase;
  exit.exit_unix_ms =
      ToUnixMillis(now.wall) -
      std::chrono::duration_cast<std::chrono::milliseconds>(state.exit_age)
          .count();
  agents_[static_cast<std::size_t>(agent)]->Tell(
      agent::RankGone{std::move(exit)}, now);
}

void WireFleet::ObserveRanks(std::int32_t agent, Now now) {
  WireAgent& one = *agents_[static_cast<std::size_t>(agent)];
  if (!has_begun_ || !one.IsRunning()) return;
  const std::int32_t first = first_rank_[static_cast<std::size_t>(agent)];
  // An agent's ranks follow each other.
  for (auto it = spawned_.find(first);
       it != spawned_.end() && it->second.agent == agent; ++it) {
    if (it->second.is_gone) continue;
    RankState state = job_.StateOf(it->first, now.mono);
    if (state.life == RankLife::kExited) {
      TellLateExit(agent, state, now);
      continue;
    }
    state.save_ack_seq = one.SaveAck();
    one.Tell(agent::RankObserved{options_.job.run, std::move(state)}, now);
  }
}

}  // namespace steadyrun::fleet
