// A cluster as the server sees it, for the browser tests: real gRPC streams of
// agents that say Hello, obey Stop, Start, Save and Verify, and report steps,
// exits and checkpoint shards. There is no process behind the ranks; faults
// are ordered on stdin, a line each:
//   crash RANK | stick RANK | nan | spike | slow RANK FACTOR | hold | go |
//   silent NODE | pace MILLISECONDS | end
// Usage: cluster_feed HOST:PORT RUN NODES RANKS_PER_NODE SPARES FAST_STEPS
//                     [TOKEN]
// The first FAST_STEPS steps are made without a pause.

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <map>
#include <sstream>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/digest.h"
#include "base/version.h"
#include "spdlog/fmt/fmt.h"
#include "steadyrun/v1/agent.grpc.pb.h"
#include "steadyrun/v1/operator.grpc.pb.h"

namespace steadyrun {
namespace {

constexpr int kCheckpointEvery = 100;
constexpr int kTargetSteps = 20'000;
// Names that no detector judges.
constexpr const char* kNamed[] = {"reward/mean", "reward/std", "actor/kl_coef",
                                  "response_length/max", "rollout/wait_ratio"};

struct Settings {
  std::string server;
  std::string run;
  int nodes = 0;
  int ranks_per_node = 0;
  int spares = 0;
  int fast_steps = 0;
  std::string token;
};

// What the script has ordered; guarded by the cluster's mutex.
struct Faults {
  std::map<int, double> slow;  // Rank -> factor.
  bool nan = false;
  bool spike = false;
  bool hold = false;
  int pace_ms = 40;
};

void Authorize(const Settings& settings, grpc::ClientContext* context) {
  if (settings.token.empty()) return;
  context->AddMetadata("authorization", "Bearer " + settings.token);
}

class Node {
 public:
  Node(const Settings& settings, int index)
      : settings_(settings),
        name_(fmt::format("node-{:02}", index)),
        channel_(grpc::CreateChannel(settings.server,
                                     grpc::InsecureChannelCredentials())),
        stub_(v1::AgentService::NewStub(channel_)) {
    Authorize(settings_, &context_);
    stream_ = stub_->Connect(&context_);
    v1::AgentMessage hello;
    FillState(hello.mutable_hello()->mutable_state());
    hello.mutable_hello()->set_protocol_version(1);
    stream_->Write(hello);
    reader_ = std::thread([this] { Read(); });
  }
  ~Node() { Silence(); }

  void Silence() {
    if (!reader_.joinable()) return;
    context_.TryCancel();
    reader_.join();
  }
  bool IsSilent() const { return !reader_.joinable(); }
  const std::string& Name() const { return name_; }

  // One turn: what was ordered is obeyed, and perhaps a step is made.
  void Turn(bool make_step, bool stands_still, Faults* faults, int crash_rank,
            int stuck_rank) {
    absl::MutexLock lock(&mutex_);
    if (is_gone_) return;
    stands_still_ = stands_still;
    v1::AgentMessage message;
    for (const v1::Command& command : commands_) Obey(command, &message);
    const bool obeyed = !commands_.empty();
    commands_.clear();
    for (const int rank : ranks_) {
      if (rank == crash_rank) Crash(rank, &message);
      if (rank == stuck_rank) stuck_ = rank;
    }
    if (make_step && !ranks_.empty() && crashed_ < 0 && stuck_ < 0) {
      AddStep(faults, &message);
    }
    const auto now = std::chrono::steady_clock::now();
    if (obeyed || crash_rank >= 0 ||
        now - beat_ > std::chrono::milliseconds(400)) {
      beat_ = now;
      FillState(message.mutable_heartbeat());
    }
    if (message.has_heartbeat() || message.reports_size() > 0) {
      stream_->Write(message);
    }
  }
  std::int64_t Step() const {
    absl::MutexLock lock(&mutex_);
    return ranks_.empty() ? -1 : step_;
  }
  bool StandsStill() const {
    absl::MutexLock lock(&mutex_);
    return crashed_ >= 0 || stuck_ >= 0;
  }

 private:
  void Read() {
    v1::ServerMessage message;
    while (stream_->Read(&message)) {
      absl::MutexLock lock(&mutex_);
      for (auto& command : message.commands()) commands_.push_back(command);
    }
    absl::MutexLock lock(&mutex_);
    is_gone_ = true;
  }

  void Obey(const v1::Command& command, v1::AgentMessage* message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (command.has_stop()) {
      floor_ = std::max(floor_, command.attempt());
      if (started_ < floor_) ranks_.clear();
    } else if (command.has_start() && command.attempt() > started_) {
      started_ = command.attempt();
      crashed_ = stuck_ = -1;
      ranks_.clear();
      for (const auto& rank : command.start().ranks()) {
        ranks_.push_back(rank.rank());
      }
      world_ = command.start().world_size();
      directory_ = command.start().checkpoint_directory();
      step_ = command.start().resume_step() + 1;
    } else if (command.has_save()) {
      save_at_ = command.save().step();
      save_seq_ = command.save().save_seq();
    } else if (command.has_verify()) {
      auto* result = NewReport(message)->mutable_result();
      result->set_command_id(command.command_id());
      result->set_run(command.run());
      result->set_attempt(command.attempt());
      result->set_outcome(v1::COMMAND_OUTCOME_DONE);
      for (const auto& shard : command.verify().shards()) {
        auto* check = result->add_checks();
        check->set_rank(shard.rank());
        check->set_path(shard.path());
        check->set_ok(true);
      }
    }
  }

  v1::Report* NewReport(v1::AgentMessage* message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    auto* report = message->add_reports();
    report->set_seq(next_seq_++);
    return report;
  }

  void Crash(int rank, v1::AgentMessage* message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    crashed_ = rank;
    auto* exited = NewReport(message)->mutable_exited();
    exited->set_run(settings_.run);
    exited->set_attempt(started_);
    exited->set_rank(rank);
    exited->mutable_exit()->set_code(1);
    exited->set_step(step_ - 1);
    exited->set_phase(v1::PHASE_FORWARD);
    exited->set_exit_unix_ms(UnixMillis());
    exited->set_error("RuntimeError: CUDA error: an illegal memory access");
    exited->set_signature("RuntimeError@train.py:forward");
    for (int line = 1; line <= 12; ++line) {
      exited->add_last_log_lines(
          line == 12 ? "RuntimeError: CUDA error: an illegal memory access was "
                       "encountered <b>not markup</b>"
                     : fmt::format("  File \"train.py\", line {}, in forward",
                                   40 + line));
    }
  }

  static std::int64_t UnixMillis() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }

  void AddStep(Faults* faults, v1::AgentMessage* message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    auto* block = NewReport(message)->mutable_steps();
    block->set_run(settings_.run);
    block->set_attempt(started_);
    block->set_step(step_);
    const std::size_t n = ranks_.size();
    for (const int rank : ranks_) {
      block->add_ranks(static_cast<std::uint32_t>(rank));
    }
    for (std::uint32_t m = 1; m <= 5; ++m) block->add_metrics(m);
    for (std::uint32_t m = 0; m < std::size(kNamed); ++m) {
      block->add_metrics(1000 + m);
      block->add_names(kNamed[m]);
    }
    std::vector<float> values((5 + std::size(kNamed)) * n);
    const double x = static_cast<double>(step_);
    const double wave = std::sin(x * 12.9898) * 0.5 + std::sin(x * 3.7) * 0.5;
    for (std::size_t r = 0; r < n; ++r) {
      const double own = std::sin((x + 1) * (ranks_[r] + 3) * 1.37);
      double seconds = 0.040 * (1 + 0.012 * own);
      if (step_ % kCheckpointEvery == 0) seconds *= 1.6;
      if (const auto it = faults->slow.find(ranks_[r]);
          it != faults->slow.end()) {
        seconds *= it->second;
      }
      values[r] = static_cast<float>(seconds);
      double loss = 1.85 + 7 * std::exp(-x / 220) + 0.03 * wave;
      double norm = 0.4 + 0.05 * std::fabs(wave);
      if (step_ % 397 == 0) norm = 1.9;
      if (faults->spike || step_ == 800) loss += 4, norm = 7.2;
      if ((faults->nan || step_ == 1100) && ranks_[r] == 0) {
        loss = step_ == 1100 ? 3.1 : std::numeric_limits<double>::quiet_NaN();
      }
      values[n + r] = static_cast<float>(loss);
      values[2 * n + r] = static_cast<float>(norm);
      values[3 * n + r] = 4096;
      values[4 * n + r] = static_cast<float>(0.8 * seconds);
      const double named[] = {std::tanh(x / 900) + 0.05 * wave,
                              0.3 + 0.02 * wave, 0.001 * (1 + x / 5000),
                              900 + 60 * wave + x / 10,
                              0.2 + 0.05 * std::fabs(own)};
      for (std::size_t m = 0; m < std::size(kNamed); ++m) {
        values[(5 + m) * n + r] = static_cast<float>(named[m]);
      }
    }
    block->set_values(values.data(), values.size() * sizeof(float));
    block->set_end_unix_ms(UnixMillis());
    if (step_ % kCheckpointEvery == 0 || step_ == save_at_) {
      for (const int rank : ranks_) AddShard(rank, message);
    }
    ++step_;
  }

  void AddShard(int rank, v1::AgentMessage* message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    auto* shard = NewReport(message)->mutable_shard();
    shard->set_run(settings_.run);
    shard->set_attempt(started_);
    shard->set_step(step_);
    shard->set_rank(rank);
    shard->set_path(
        fmt::format("{}/step-{}/rank-{}.pt", directory_, step_, rank));
    shard->set_size_bytes(1'400'000'000);
    shard->set_sha256(Sha256Hex(shard->path()));
    shard->set_shards(world_);
    shard->set_saved_unix_ms(UnixMillis());
    shard->set_save_seconds(0.025);
  }

  // What the training process of a rank tells that does not advance.
  void TellStandstill(bool is_late, v1::RankState* rank) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    auto* position = rank->add_collectives();
    position->set_group("data_parallel");
    const auto entered = static_cast<std::uint64_t>(step_);
    position->set_entered(is_late ? entered - 1 : entered);
    rank->add_stack(is_late ? "read (shard_reader.py:212)"
                            : "all_reduce (distributed.py:88)");
    rank->add_stack(is_late ? "next_batch (data.py:40)"
                            : "optimizer_step (train.py:120)");
    rank->add_stack("main (train.py:31)");
  }

  void FillState(v1::NodeState* state) {
    state->set_node(name_);
    state->set_boot_id("boot-" + name_ + ":1");
    state->set_agent_incarnation(7);
    state->set_address("127.0.0.1");
    state->set_rendezvous_port(23456);
    state->set_version(kVersion);
    if (floor_ == 0 && started_ == 0) return;
    auto* run = state->add_runs();
    run->set_run(settings_.run);
    run->set_floor(floor_);
    run->set_started(started_);
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      auto* rank = run->add_ranks();
      rank->set_rank(ranks_[i]);
      rank->set_local_rank(static_cast<int>(i));
      rank->set_attempt(started_);
      const bool is_dead = ranks_[i] == crashed_;
      rank->set_life(is_dead ? v1::RANK_LIFE_EXITED : v1::RANK_LIFE_ALIVE);
      if (is_dead) rank->mutable_exit()->set_code(1);
      const bool is_stuck = ranks_[i] == stuck_;
      if (stands_still_ && !is_dead) TellStandstill(is_stuck, rank);
      rank->set_step(step_ - 1);
      rank->set_phase(v1::PHASE_STEP);
      rank->set_phase_seq(static_cast<std::uint64_t>(step_));
      rank->set_process_state(is_dead ? "Z" : is_stuck ? "S" : "R");
      rank->set_save_ack_seq(save_seq_);
    }
  }

  const Settings& settings_;
  const std::string name_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::AgentService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::AgentMessage, v1::ServerMessage>>
      stream_;
  std::thread reader_;

  mutable absl::Mutex mutex_;
  bool is_gone_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<v1::Command> commands_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t next_seq_ ABSL_GUARDED_BY(mutex_) = 1;
  std::chrono::steady_clock::time_point beat_;
  std::int64_t floor_ = 0;
  std::int64_t started_ = 0;
  std::vector<int> ranks_;
  int crashed_ = -1;
  int stuck_ = -1;  // Waits for its data.
  bool stands_still_ = false;
  int world_ = 0;
  std::string directory_;
  std::int64_t step_ = 0;
  std::int64_t save_at_ = -1;
  std::uint64_t save_seq_ = 0;
};

bool Launch(const Settings& settings) {
  const auto stub = v1::OperatorService::NewStub(
      grpc::CreateChannel(settings.server, grpc::InsecureChannelCredentials()));
  v1::LaunchRequest request;
  request.set_request_id(RandomHex64());
  request.set_actor("feed");
  auto* spec = request.mutable_spec();
  spec->set_run(settings.run);
  spec->add_argv("train.py");
  spec->set_nodes(settings.nodes);
  spec->set_ranks_per_node(settings.ranks_per_node);
  spec->set_working_directory("/");
  spec->set_checkpoint_directory("/shared/ckpt");
  spec->set_target_steps(kTargetSteps);
  (*spec->mutable_environment())["STEADYRUN_SIMULATED"] = "1";
  grpc::ClientContext context;
  Authorize(settings, &context);
  v1::ActionReply reply;
  const grpc::Status status = stub->Launch(&context, request, &reply);
  if (!status.ok()) fmt::print(stderr, "launch: {}\n", status.error_message());
  return status.ok();
}

class Cluster {
 public:
  explicit Cluster(const Settings& settings) : settings_(settings) {
    for (int i = 0; i < settings.nodes + settings.spares; ++i) {
      nodes_.push_back(std::make_unique<Node>(settings_, i));
    }
  }

  // One line of the script; false: the end.
  bool Order(const std::string& line) {
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    absl::MutexLock lock(&mutex_);
    if (verb == "end") return false;
    if (verb == "crash") words >> crash_rank_;
    if (verb == "stick") words >> stuck_rank_;
    if (verb == "nan") faults_.nan = true;
    if (verb == "spike") faults_.spike = true;
    if (verb == "hold") faults_.hold = true;
    if (verb == "go") faults_.hold = false;
    if (verb == "pace") words >> faults_.pace_ms;
    if (verb == "silent") words >> silent_node_;
    if (verb == "slow") {
      int rank = 0;
      double factor = 1;
      words >> rank >> factor;
      faults_.slow[rank] = factor;
    }
    return true;
  }

  void Run(const std::atomic<bool>& stop) {
    auto last_step = std::chrono::steady_clock::now();
    while (!stop) {
      bool make_step = false;
      bool is_fast = false;
      {
        absl::MutexLock lock(&mutex_);
        const auto now = std::chrono::steady_clock::now();
        std::int64_t newest = -1;
        bool stands_still = crash_rank_ >= 0 || stuck_rank_ >= 0;
        int holding = 0;
        for (const auto& node : nodes_) {
          newest = std::max(newest, node->Step());
          stands_still = stands_still || node->StandsStill();
          holding += node->Step() >= 0 && !node->IsSilent() ? 1 : 0;
        }
        is_fast = newest >= 0 && newest < settings_.fast_steps;
        // A collective needs all of its ranks.
        make_step = !faults_.hold && !stands_still &&
                    holding == settings_.nodes && newest < kTargetSteps &&
                    (is_fast || now - last_step >
                                    std::chrono::milliseconds(faults_.pace_ms));
        if (make_step) last_step = now;
        for (const auto& node : nodes_) {
          if (node->Name() == silent_node_) node->Silence();
          if (node->IsSilent()) continue;
          node->Turn(make_step, stands_still, &faults_, crash_rank_,
                     stuck_rank_);
        }
        crash_rank_ = stuck_rank_ = -1;
        silent_node_.clear();
        if (make_step) faults_.nan = faults_.spike = false;
      }
      const std::chrono::microseconds pause(is_fast ? 500 : 4000);
      std::this_thread::sleep_for(pause);  // Pace: of steps.
    }
  }

 private:
  const Settings& settings_;
  absl::Mutex mutex_;
  Faults faults_ ABSL_GUARDED_BY(mutex_);
  int crash_rank_ ABSL_GUARDED_BY(mutex_) = -1;
  int stuck_rank_ ABSL_GUARDED_BY(mutex_) = -1;
  std::string silent_node_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Node>> nodes_;
};

int Main(int argc, char** argv) {
  if (argc < 7) {
    fmt::print(stderr,
               "usage: cluster_feed HOST:PORT RUN NODES RANKS_PER_NODE SPARES "
               "FAST_STEPS [TOKEN]\n");
    return 2;
  }
  const Settings settings{argv[1],
                          argv[2],
                          std::atoi(argv[3]),
                          std::atoi(argv[4]),
                          std::atoi(argv[5]),
                          std::atoi(argv[6]),
                          argc > 7 ? argv[7] : ""};
  Cluster cluster(settings);
  if (!Launch(settings)) return 1;
  fmt::print("launched\n");
  std::fflush(stdout);
  std::atomic<bool> stop{false};
  std::thread driver([&] { cluster.Run(stop); });
  for (std::string line; std::getline(std::cin, line);) {
    if (!cluster.Order(line)) break;
  }
  stop = true;
  driver.join();
  return 0;
}

}  // namespace
}  // namespace steadyrun

int main(int argc, char** argv) { return steadyrun::Main(argc, argv); }
