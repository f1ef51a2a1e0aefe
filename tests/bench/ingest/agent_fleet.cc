#include "tests/bench/ingest/agent_fleet.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/digest.h"
#include "base/version.h"
#include "spdlog/fmt/fmt.h"
#include "steadyrun/v1/agent.grpc.pb.h"
#include "steadyrun/v1/operator.grpc.pb.h"

namespace steadyrun::bench {
namespace {

using std::chrono::steady_clock;

std::shared_ptr<grpc::Channel> NewChannel(const std::string& server) {
  grpc::ChannelArguments arguments;
  // The settings of the real agent; a pool of its own makes a connection.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(),
                                   arguments);
}

constexpr int kMetrics = 4;  // step seconds, loss, gradient norm, tokens

}  // namespace

class AgentFleet::Agent
    : public grpc::ClientBidiReactor<v1::AgentMessage, v1::ServerMessage> {
 public:
  Agent(AgentFleet& fleet, int index)
      : fleet_(fleet),
        index_(index),
        channel_(NewChannel(fleet.options_.server)),
        stub_(v1::AgentService::NewStub(channel_)) {}

  void Open() {
    auto* hello = outgoing_.mutable_hello();
    FillState(hello->mutable_state());
    hello->set_protocol_version(1);
    stub_->async()->Connect(&context_, this);
    AddHold();
    StartRead(&incoming_);
    StartWrite(&outgoing_);
    StartCall();
  }

  void Close() {
    context_.TryCancel();
    RemoveHold();
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&is_done_));
  }

  bool IsWelcome() const {
    absl::MutexLock lock(&mutex_);
    return is_welcome_;
  }
  bool IsStarted() const {
    absl::MutexLock lock(&mutex_);
    return started_ > 0;
  }
  std::int64_t Acked() const {
    absl::MutexLock lock(&mutex_);
    return static_cast<std::int64_t>(acked_seq_);
  }

  // True if a message went out; false when one is being written or too many
  // are unacknowledged.
  bool TrySend() {
    absl::MutexLock lock(&mutex_);
    const auto& options = fleet_.options_;
    const auto window = static_cast<std::uint64_t>(options.messages_in_flight *
                                                   options.steps_per_message);
    if (is_writing_ || is_done_ || started_ == 0 ||
        next_seq_ - 1 - acked_seq_ >= window) {
      return false;
    }
    outgoing_.Clear();
    MaybeAddHeartbeat();
    for (int i = 0; i < options.steps_per_message; ++i) AddBlock();
    is_writing_ = true;
    StartWrite(&outgoing_);
    return true;
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    {
      absl::MutexLock lock(&mutex_);
      if (incoming_.has_welcome()) {
        is_welcome_ = true;
        acked_seq_ = incoming_.welcome().resume_after_seq();
        next_seq_ = acked_seq_ + 1;
      }
      if (incoming_.ack_seq() > acked_seq_) acked_seq_ = incoming_.ack_seq();
      for (const auto& command : incoming_.commands()) Obey(command);
    }
    StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    is_writing_ = false;
    if (ok && state_changed_) {
      outgoing_.Clear();
      MaybeAddHeartbeat();
      is_writing_ = true;
      StartWrite(&outgoing_);
    }
  }

  void OnDone(const grpc::Status& status) override {
    absl::MutexLock lock(&mutex_);
    if (status.error_code() != grpc::CANCELLED) {
      fprintf(stderr, "agent %d: stream ended: %s\n", index_,
              status.error_message().c_str());
    }
    is_done_ = true;
  }

 private:
  void Obey(const v1::Command& command) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (command.has_stop()) {
      floor_ = std::max(floor_, command.attempt());
    } else if (command.has_start() && command.attempt() > started_) {
      started_ = command.attempt();
      ranks_.clear();
      for (const auto& rank : command.start().ranks()) {
        ranks_.push_back(rank.rank());
      }
    } else {
      return;
    }
    state_changed_ = true;
    if (!is_writing_) {
      outgoing_.Clear();
      MaybeAddHeartbeat();
      is_writing_ = true;
      StartWrite(&outgoing_);
    }
  }

  void MaybeAddHeartbeat() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto now = steady_clock::now();
    if (!state_changed_ && now - last_heartbeat_ < std::chrono::seconds(1)) {
      return;
    }
    last_heartbeat_ = now;
    state_changed_ = false;
    FillState(outgoing_.mutable_heartbeat());
  }

  void FillState(v1::NodeState* state) {
    state->set_node(fmt::format("bench-{:05}", index_));
    state->set_boot_id(fmt::format("boot-{}:{}", index_, incarnation_));
    state->set_agent_incarnation(incarnation_);
    state->set_address("127.0.0.1");
    state->set_rendezvous_port(20000 + index_ % 10000);
    state->set_version(kVersion);
    if (floor_ == 0 && started_ == 0) return;
    auto* run = state->add_runs();
    run->set_run(fleet_.options_.run);
    run->set_floor(floor_);
    run->set_started(started_);
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      auto* rank = run->add_ranks();
      rank->set_rank(ranks_[i]);
      rank->set_local_rank(static_cast<int>(i));
      rank->set_attempt(started_);
      rank->set_life(v1::RANK_LIFE_ALIVE);
      rank->set_step(step_ - 1);
      rank->set_phase(v1::PHASE_STEP);
      rank->set_phase_seq(static_cast<std::uint64_t>(step_));
      rank->set_process_state("R");
    }
  }

  void AddBlock() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    auto* report = outgoing_.add_reports();
    report->set_seq(next_seq_++);
    auto* block = report->mutable_steps();
    block->set_run(fleet_.options_.run);
    block->set_attempt(started_);
    block->set_step(step_);
    const std::size_t n = ranks_.size();
    for (const int rank : ranks_) {
      block->add_ranks(static_cast<std::uint32_t>(rank));
    }
    for (std::uint32_t m = 1; m <= kMetrics; ++m) block->add_metrics(m);
    values_.resize(kMetrics * n);
    const auto wobble = static_cast<float>((step_ * 7 + index_) % 13) * 1e-4F;
    for (std::size_t r = 0; r < n; ++r) {
      values_[r] = static_cast<float>(fleet_.options_.step_seconds) + wobble;
      values_[n + r] = 2.5F + wobble;
      values_[2 * n + r] = 1.1F + wobble;
      values_[3 * n + r] = 4096;
    }
    block->set_values(values_.data(), values_.size() * sizeof(float));
    block->set_end_unix_ms(1);
    ++step_;
    fleet_.reports_sent_.fetch_add(static_cast<std::int64_t>(n),
                                   std::memory_order_relaxed);
  }

  AgentFleet& fleet_;
  const int index_;
  const std::uint64_t incarnation_ = RandomU64();
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::AgentService::Stub> stub_;
  grpc::ClientContext context_;
  v1::ServerMessage incoming_;

  mutable absl::Mutex mutex_;
  v1::AgentMessage outgoing_;
  std::vector<float> values_ ABSL_GUARDED_BY(mutex_);
  bool is_writing_ ABSL_GUARDED_BY(mutex_) = true;  // The Hello.
  bool is_done_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_welcome_ ABSL_GUARDED_BY(mutex_) = false;
  bool state_changed_ ABSL_GUARDED_BY(mutex_) = false;
  std::int64_t floor_ = 0;
  std::int64_t started_ = 0;
  std::vector<int> ranks_;
  std::int64_t step_ = 0;
  std::uint64_t next_seq_ ABSL_GUARDED_BY(mutex_) = 1;
  std::uint64_t acked_seq_ ABSL_GUARDED_BY(mutex_) = 0;
  steady_clock::time_point last_heartbeat_ ABSL_GUARDED_BY(mutex_);
};

AgentFleet::AgentFleet(FleetOptions options) : options_(std::move(options)) {
  for (int i = 0; i < options_.agents; ++i) {
    agents_.push_back(std::make_unique<Agent>(*this, i));
  }
}

AgentFleet::~AgentFleet() {
  for (auto& agent : agents_) agent->Close();
}

absl::Status AgentFleet::WaitForAll(bool (Agent::*condition)() const,
                                    const char* what) {
  const auto deadline = steady_clock::now() + std::chrono::seconds(60);
  for (auto& agent : agents_) {
    while (!(agent.get()->*condition)()) {
      if (steady_clock::now() > deadline) {
        return absl::DeadlineExceededError(
            fmt::format("not all agents {} within 60 s", what));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  return absl::OkStatus();
}

absl::Status AgentFleet::Connect() {
  for (auto& agent : agents_) agent->Open();
  return WaitForAll(&Agent::IsWelcome, "were welcomed");
}

absl::Status AgentFleet::Launch() {
  const auto stub = v1::OperatorService::NewStub(NewChannel(options_.server));
  v1::LaunchRequest request;
  request.set_request_id(RandomHex64());
  request.set_actor("bench");
  auto* spec = request.mutable_spec();
  spec->set_run(options_.run);
  spec->add_argv("none");
  spec->set_nodes(options_.agents);
  spec->set_ranks_per_node(options_.ranks_per_agent);
  spec->set_working_directory("/");
  spec->set_checkpoint_directory("/nonexistent");
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(15));
  v1::ActionReply reply;
  const auto status = stub->Launch(&context, request, &reply);
  if (!status.ok()) {
    return absl::UnavailableError("launch: " + status.error_message());
  }
  return WaitForAll(&Agent::IsStarted, "were started");
}

void AgentFleet::RunSaturated(double seconds) {
  const auto end = steady_clock::now() + std::chrono::duration<double>(seconds);
  while (steady_clock::now() < end) {
    bool any = false;
    for (auto& agent : agents_) any = agent->TrySend() || any;
    if (!any) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

void AgentFleet::RunPaced(double seconds) {
  const auto start = steady_clock::now();
  const auto total =
      static_cast<std::int64_t>(seconds * static_cast<double>(agents_.size()));
  const std::chrono::duration<double> gap(1.0 /
                                          static_cast<double>(agents_.size()));
  for (std::int64_t i = 0; i < total; ++i) {
    std::this_thread::sleep_until(
        start + std::chrono::duration_cast<steady_clock::duration>(
                    gap * static_cast<double>(i)));
    agents_[static_cast<std::size_t>(i) % agents_.size()]->TrySend();
  }
}

std::int64_t AgentFleet::ReportsAcked() const {
  std::int64_t acked = 0;
  for (const auto& agent : agents_) {
    acked += agent->Acked() * options_.ranks_per_agent;
  }
  return acked;
}

}  // namespace steadyrun::bench
