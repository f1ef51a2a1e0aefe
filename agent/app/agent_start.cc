// How an agent comes up: identity, what is remembered, who still lives.

#include <unistd.h>

#include <filesystem>
#include <utility>

#include "agent/app/agent_loop.h"
#include "agent/collectors/process_stat.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/version.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {

struct AgentLoop::Parts {
  AgentConfig config;
  std::unique_ptr<ServerLink> link;
  std::unique_ptr<LocalRanks> ranks;
  std::unique_ptr<StateFile> state_file;
  std::unique_ptr<Spool> spool;
  DurableState durable;
  std::vector<NodeRunState> survivors;
  std::string kernel_boot_id;
  Now now;
  std::unique_ptr<MetricsBoard> board;
  std::unique_ptr<MetricsServer> server;
};

namespace {

// A new identity is on disk before anybody hears of it.
absl::StatusOr<DurableState> LoadState(StateFile& file) {
  if (file.loaded()) return *file.loaded();
  if (file.was_damaged()) {
    spdlog::warn("the state file is damaged: this node gets a new identity");
  }
  DurableState state;
  state.state_uuid = RandomHex64();
  RETURN_IF_ERROR(file.Write(state));
  return state;
}

LinkOptions LinkOptionsOf(const AgentConfig& config) {
  LinkOptions options;
  options.server_address = config.server;
  options.tls = config.tls;
  options.backoff = config.retry;
  return options;
}

}  // namespace

absl::StatusOr<std::unique_ptr<AgentLoop>> AgentLoop::Create(
    AgentConfig config) {
  Parts parts;
  parts.config = std::move(config);
  const AgentConfig& c = parts.config;
  parts.now = SystemClock().Both();
  RETURN_IF_ERROR(MakeDirectories(c.state_directory, 0700));
  RETURN_IF_ERROR(MakeDirectories(
      std::filesystem::path(c.spool_path).parent_path().string(), 0700));
  ASSIGN_OR_RETURN(StateFile file,
                   StateFile::Open(c.state_directory + "/state"));
  parts.state_file = std::make_unique<StateFile>(std::move(file));
  ASSIGN_OR_RETURN(parts.durable, LoadState(*parts.state_file));
  ASSIGN_OR_RETURN(parts.kernel_boot_id, ProcessTable().BootId());

  LocalRanksOptions ranks;
  ranks.supervisor.state_directory = c.state_directory;
  ranks.supervisor.state_uuid = parts.durable.state_uuid;
  ranks.supervisor.node = c.node;
  ranks.supervisor.kernel_boot_id = parts.kernel_boot_id;
  ranks.supervisor.shim_path = c.shim_path;
  ranks.recorder_root = c.recorder_root;
  ASSIGN_OR_RETURN(parts.ranks, LocalRanks::Create(std::move(ranks)));
  parts.survivors = parts.ranks->Adopt(parts.now);
  parts.spool = std::make_unique<Spool>(
      SpoolOptions{.path = c.spool_path, .max_bytes = c.spool_max_bytes});
  ASSIGN_OR_RETURN(parts.link, ServerLink::Create(LinkOptionsOf(c)));
  parts.board = std::make_unique<MetricsBoard>();
  if (!c.metrics_listen.empty()) {
    ASSIGN_OR_RETURN(
        parts.server,
        MetricsServer::Start(c.metrics_listen, [board = parts.board.get()] {
          return board->Render();
        }));
  }
  return std::unique_ptr<AgentLoop>(new AgentLoop(std::move(parts)));
}

AgentLoop::AgentLoop(Parts parts)
    : config_(std::move(parts.config)),
      now_(parts.now),
      link_(std::move(parts.link)),
      ranks_(std::move(parts.ranks)),
      shards_(std::make_unique<ShardWorker>()),
      board_(std::move(parts.board)),
      server_(std::move(parts.server)),
      port_(config_.address),
      random_(RandomU64()) {
  CoreOptions options;
  options.node = config_.node;
  options.kernel_boot_id = parts.kernel_boot_id;
  options.address = config_.address;
  if (server_ != nullptr) {
    const std::string host = server_->Host();
    const bool is_any = host == "0.0.0.0" || host == "::";
    options.metrics_address =
        fmt::format("{}:{}", is_any ? config_.address : host, server_->Port());
  }
  options.agent_pid = static_cast<std::int32_t>(::getpid());
  options.incarnation = Incarnation{RandomU64()};
  options.version = kVersion;
  options.token = config_.token;
  options.launch_allow = config_.launch_allow;
  // A spool that is whole knows the exact number; the bound is for one that
  // is not.
  if (parts.spool->knows_last_seq()) {
    parts.durable.next_seq = parts.spool->last_seq().Next();
  }
  std::size_t alive = 0;
  for (const NodeRunState& run : parts.survivors) {
    for (const RankState& rank : run.ranks) {
      alive += rank.life != RankLife::kExited ? 1 : 0;
    }
  }
  spdlog::info("agent started {} {} {} {} {}", Kv("node", config_.node),
               Kv("server", config_.server), Kv("address", config_.address),
               Kv("state", config_.state_directory),
               Kv("adopted_ranks", fmt::format("{}", alive)));
  const ReportSeq last = parts.spool->last_seq();
  core_ = std::make_unique<AgentCore>(
      std::move(options), std::move(parts.durable), std::move(parts.survivors),
      last, parts.spool->oldest_seq(), now_);
  disk_ = std::make_unique<DiskThread>(std::move(parts.state_file),
                                       std::move(parts.spool));
  flow_ = std::make_unique<ReportFlow>(*disk_, *ranks_, last);
}

}  // namespace steadyrun::agent
