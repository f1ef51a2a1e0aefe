#include "server/app/app.h"

#include <grpcpp/impl/service_type.h>

#include <utility>
#include <vector>

#include "base/logging.h"
#include "base/status_macros.h"
#include "server/app/effect_router.h"
#include "server/app/engine_loop.h"
#include "server/app/service_state.h"
#include "server/engine/engine.h"
#include "server/metrics/server_metrics.h"
#include "server/notify/notifier.h"
#include "server/notify/pager.h"
#include "server/rpc/agent_service.h"
#include "server/rpc/event_watch.h"
#include "server/rpc/grpc_server.h"
#include "server/rpc/operator_api.h"
#include "server/rpc/operator_service.h"
#include "server/storage/sqlite_store.h"
#include "server/web/api_frontend.h"
#include "server/web/event_hub.h"
#include "server/web/http_server.h"
#include "server/web/live_feed.h"
#include "spdlog/spdlog.h"

namespace steadyrun {
namespace {

// An operator who waits for a commit learns after this that it will not be
// soon; the CLI asks again with the same request_id.
constexpr Duration kReplyDeadline = std::chrono::seconds(10);
constexpr Duration kDiskRetry = std::chrono::seconds(1);
// The engine ticks every 100 ms; a commit on a slow disk may take seconds.
constexpr Duration kUnhealthyTickAge = std::chrono::seconds(20);
// An engine that has not looked for so long does not count as watching.
constexpr Duration kBlindTickAge = std::chrono::seconds(5);
// In a run's environment: "1" or any word but "0" and "false".
constexpr char kPagingMark[] = "STEADYRUN_PAGE";

bool IsWorthWaiting(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsUnavailable(status);
}

absl::StatusOr<TokenSet> LoadTokens(const ServerConfig& config) {
  if (config.tokens_file.empty()) return TokenSet();
  return TokenSet::Load(config.tokens_file);
}

}  // namespace

class App::Impl {
 public:
  Impl(const ServerConfig& config, const Clock* clock)
      : config_(config), clock_(clock) {}
  ~Impl() { Stop(); }

  absl::Status Start(const WaitOrStop& wait_or_stop);
  void Stop();

  const GrpcServer& grpc() const { return *grpc_; }
  const HttpServer& http() const { return *http_; }
  const EngineLoop& loop() const { return *loop_; }

 private:
  absl::Status OpenStore();
  absl::Status OpenStoreWhenPossible(const WaitOrStop& wait_or_stop);
  void MakeLoop();
  void MakeNotifier();
  bool IsPaged(const RunId& run) const;
  void MakeAdapters();
  absl::Status Listen();

  const ServerConfig config_;
  const Clock* const clock_;
  TokenSet tokens_;
  std::unique_ptr<SqliteStore> store_;
  Snapshot snapshot_;
  std::unique_ptr<Engine> engine_;
  EffectRouter router_;
  std::unique_ptr<EngineLoop> loop_;
  std::unique_ptr<ServiceState> state_;
  std::unique_ptr<SessionRegistry> sessions_;
  std::unique_ptr<PendingReplies> replies_;
  std::unique_ptr<Pager> pager_;
  std::unique_ptr<Notifier> notifier_;
  std::unique_ptr<EventWatch> watch_;
  std::unique_ptr<AgentEndpoint> agents_;
  std::unique_ptr<ServerMetrics> metrics_;
  std::unique_ptr<OperatorApi> api_;
  std::unique_ptr<grpc::Service> operators_;
  std::unique_ptr<EventHub> events_;
  std::unique_ptr<LiveFeed> feed_;
  std::unique_ptr<JournalFeed> journal_;
  std::unique_ptr<ApiFrontend> frontend_;
  std::unique_ptr<GrpcServer> grpc_;
  std::unique_ptr<HttpServer> http_;
};

absl::Status App::Impl::OpenStore() {
  store_.reset();
  StoreOptions options;
  options.data_dir = config_.data_dir;
  options.maintenance.rollup.keep_step_rows = config_.keep_step_rows;
  options.maintenance.keep_days = config_.keep_days;
  ASSIGN_OR_RETURN(store_, SqliteStore::Open(options, clock_));
  ASSIGN_OR_RETURN(snapshot_, store_->Load(clock_->Both()));
  return absl::OkStatus();
}

absl::Status App::Impl::OpenStoreWhenPossible(const WaitOrStop& wait_or_stop) {
  for (std::string last_error;;) {
    const absl::Status status = OpenStore();
    if (!IsWorthWaiting(status)) return status;
    const std::string error(status.message());
    if (error != last_error) {
      spdlog::error("cannot open the database, trying again until it works {}",
                    Kv("error", error));
    }
    last_error = error;
    if (wait_or_stop(kDiskRetry)) {
      return absl::CancelledError("stopped while waiting for the disk");
    }
  }
}

void App::Impl::MakeLoop() {
  EngineLoopOptions options;
  options.step = [this](Event event, Now now) {
    return engine_->Step(std::move(event), now);
  };
  options.view = [this](Now now) { return engine_->View(now); };
  options.store = store_.get();
  options.sink = &router_;
  options.clock = clock_;
  loop_ = std::make_unique<EngineLoop>(std::move(options));
  loop_->Seed(snapshot_);
  state_ = std::make_unique<ServiceState>(loop_.get(), &store_->history());
  state_->SetIdentity(snapshot_.server_epoch, snapshot_.server_id,
                      clock_->WallNow());
}

bool App::Impl::IsPaged(const RunId& run) const {
  const auto state = store_->history().Run(run);
  if (!state.ok()) return true;  // Rather once too often than not at all.
  const auto mark = state->spec.environment.find(kPagingMark);
  return mark != state->spec.environment.end() && !mark->second.empty() &&
         mark->second != "0" && mark->second != "false";
}

void App::Impl::MakeNotifier() {
  NotifierBackend backend;
  backend.store = &store_->notices();
  backend.clock = clock_;
  backend.is_paged = [this](const RunId& run) { return IsPaged(run); };
  backend.can_observe = [this] {
    const EngineLoopStatus status = loop_->Status();
    return status.storage_ok && status.tick_age < kBlindTickAge;
  };
  backend.halted = [this] {
    std::vector<HaltedRun> halted;
    for (const RunView& run : loop_->View()->runs) {
      if (run.state.phase != RunPhase::kHalted) continue;
      halted.push_back({run.state.spec.run, run.state.phase_since.wall,
                        run.state.phase_reason});
    }
    return halted;
  };
  notifier_ = std::make_unique<Notifier>(config_.notifier, std::move(backend));
  state_->SetNotifications([this] {
    std::vector<NotificationStatus> all;
    for (Notifier::SinkStatus& one : notifier_->Status()) {
      all.push_back({std::move(one.sink), one.delivered, one.failed,
                     one.dropped, std::move(one.error)});
    }
    return all;
  });
}

void App::Impl::MakeAdapters() {
  sessions_ = std::make_unique<SessionRegistry>(loop_.get(), clock_);
  replies_ = std::make_unique<PendingReplies>(clock_, kReplyDeadline);
  pager_ = std::make_unique<Pager>(config_.pager);
  MakeNotifier();
  watch_ = std::make_unique<EventWatch>(&store_->events());
  agents_ = std::make_unique<AgentEndpoint>(
      AgentServiceBackend{loop_.get(), sessions_.get(), &tokens_, clock_});
  ServerMetrics::Sources sources;
  sources.live = state_.get();
  sources.clock = clock_;
  sources.traffic = [this] { return agents_->Counts(); };
  sources.notifications = [this] { return pager_->Counts(); };
  sources.wrong_tokens = [this] { return frontend_->WrongTokens(); };
  metrics_ = std::make_unique<ServerMetrics>(std::move(sources));
  metrics_->Seed(snapshot_);
  events_ = std::make_unique<EventHub>();
  feed_ = std::make_unique<LiveFeed>(state_.get(), events_.get());
  router_.SetTargets({.sessions = sessions_.get(),
                      .replies = replies_.get(),
                      .pager = pager_.get(),
                      .metrics = metrics_.get(),
                      .feed = feed_.get(),
                      .notifier = notifier_.get(),
                      .events = watch_.get()});
  OperatorBackend backend;
  backend.sink = loop_.get();
  backend.live = state_.get();
  backend.history = &store_->history();
  backend.events = &store_->events();
  backend.site_alerts = &store_->notices();
  backend.replies = replies_.get();
  backend.clock = clock_;
  api_ = std::make_unique<OperatorApi>(std::move(backend));
  operators_ = MakeOperatorService(api_.get(), &tokens_, watch_.get());
  ApiFrontendOptions options;
  options.allowed_hosts = config_.allowed_hosts;
  options.is_secure = config_.tls.IsEnabled();
  options.clock = clock_;
  options.events = events_.get();
  journal_ = std::make_unique<JournalFeed>(api_.get());
  options.journal = journal_.get();
  router_.SetJournal(journal_.get());
  frontend_ =
      std::make_unique<ApiFrontend>(std::move(options), api_.get(), &tokens_,
                                    [this] { return metrics_->Render(); });
}

absl::Status App::Impl::Listen() {
  GrpcServerOptions grpc;
  grpc.address = config_.grpc_address;
  grpc.tls = config_.tls;
  grpc.has_tokens = tokens_.IsRequired();
  grpc.insecure = config_.insecure;
  ASSIGN_OR_RETURN(
      grpc_, GrpcServer::Start(grpc, {agents_->Service(), operators_.get()}));
  HttpServerOptions http;
  http.address = config_.http_address;
  http.tls = config_.tls;
  http.tls.client_ca.clear();  // People show a token.
  http.has_tokens = tokens_.IsRequired();
  http.insecure = config_.insecure;
  ASSIGN_OR_RETURN(http_, HttpServer::Start(http, frontend_.get()));
  state_->SetAddresses(grpc_->Address(), http_->Address());
  grpc_->SetServing(true);
  return absl::OkStatus();
}

absl::Status App::Impl::Start(const WaitOrStop& wait_or_stop) {
  ApplyGrpcProcessSettings();
  RETURN_IF_ERROR(CheckConfig(config_));
  ASSIGN_OR_RETURN(tokens_, LoadTokens(config_));
  RETURN_IF_ERROR(OpenStoreWhenPossible(wait_or_stop));
  engine_ =
      std::make_unique<Engine>(EngineOptions{}, snapshot_, clock_->Both());
  MakeLoop();
  MakeAdapters();
  loop_->Start();
  RETURN_IF_ERROR(Listen());
  spdlog::info(
      "serving grpc={} http={} {} server_epoch={} server_id={} runs={}",
      grpc_->Address(), http_->Address(), Kv("data_dir", config_.data_dir),
      snapshot_.server_epoch, snapshot_.server_id, snapshot_.runs.size());
  snapshot_ = Snapshot{};
  return absl::OkStatus();
}

void App::Impl::Stop() {
  if (grpc_ != nullptr) grpc_->SetServing(false);
  // First those who wait, else the servers below wait for them.
  if (replies_ != nullptr) replies_->Close();
  if (sessions_ != nullptr) {
    sessions_->CloseAll(absl::UnavailableError("the server is stopping"));
  }
  if (watch_ != nullptr) watch_->Close();
  if (http_ != nullptr) http_->Stop();
  if (grpc_ != nullptr) grpc_->Stop();
  if (loop_ != nullptr) loop_->Stop();
}

App::App(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
App::~App() = default;

absl::StatusOr<std::unique_ptr<App>> App::Start(
    const ServerConfig& config, const Clock* clock,
    const WaitOrStop& wait_or_stop) {
  auto impl = std::make_unique<Impl>(config, clock);
  RETURN_IF_ERROR(impl->Start(wait_or_stop));
  return std::unique_ptr<App>(new App(std::move(impl)));
}

void App::Stop() { impl_->Stop(); }
int App::GrpcPort() const { return impl_->grpc().Port(); }
int App::HttpPort() const { return impl_->http().Port(); }
std::string App::GrpcAddress() const { return impl_->grpc().Address(); }
std::string App::HttpAddress() const { return impl_->http().Address(); }

bool App::IsHealthy() const {
  return impl_->loop().Status().tick_age < kUnhealthyTickAge;
}

}  // namespace steadyrun
