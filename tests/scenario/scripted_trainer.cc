// The ranks of ScriptedCluster: synchronous, with declared phases, saves,
// faults and the words that peers leave when one of them dies.

#include <fmt/format.h>

#include <csignal>
#include <limits>
#include <utility>

#include "tests/scenario/scripted_node.h"

namespace steadyrun {
namespace {

// How long peers take to notice that a connection is gone.
constexpr Duration kPeersNotice = std::chrono::milliseconds(80);
constexpr Duration kHashTime = std::chrono::milliseconds(30);

}  // namespace

RankState* ScriptedCluster::FindRank(std::int32_t rank, Node** owner) {
  for (auto& [name, node] : nodes_) {
    for (NodeRunState& run : node->state.runs) {
      for (RankState& state : run.ranks) {
        if (state.rank.value == rank && state.attempt == training_) {
          *owner = node.get();
          return &state;
        }
      }
    }
  }
  return nullptr;
}

void ScriptedCluster::ExitRank(Node& node, RankState& rank, ExitStatus exit,
                               const std::string& error, bool is_secondary,
                               bool by_agent) {
  rank.life = RankLife::kExited;
  rank.exit = exit;
  rank.killed_by_agent = by_agent;
  RankExited report;
  report.run = spec_.run;
  report.attempt = rank.attempt;
  report.rank = rank.rank;
  report.exit = exit;
  report.killed_by_agent = by_agent;
  report.step = rank.step;
  report.phase = rank.phase;
  report.error = error;
  report.is_secondary = is_secondary;
  report.signature = error.substr(0, error.find(':'));
  if (!trainer_.says_late) Report(node, report);
  Heartbeat(node);
  if (trainer_.says_late) Report(node, report);
}

// The others lose their connections, unless they cannot run themselves.
void ScriptedCluster::KillPeersOf(std::int32_t rank) {
  const AttemptId attempt = training_;
  Later(kPeersNotice, [this, rank, attempt] {
    for (auto& [name, node] : nodes_) {
      if (node->is_dead || node->is_frozen) continue;
      for (NodeRunState& run : node->state.runs) {
        for (RankState& peer : run.ranks) {
          if (peer.attempt != attempt || peer.life == RankLife::kExited ||
              node->stopped[peer.rank.value]) {
            continue;
          }
          ExitRank(
              *node, peer, {1, 0},
              fmt::format("RuntimeError: connection closed by peer [{}]", rank),
              true, false);
        }
      }
    }
  });
}

void ScriptedCluster::KillRank(std::int32_t rank, int signal) {
  Node* node = nullptr;
  RankState* state = FindRank(rank, &node);
  if (state == nullptr || state->life == RankLife::kExited) return;
  ExitRank(*node, *state, {0, signal}, "", false, false);
  KillPeersOf(rank);
}

void ScriptedCluster::FailRank(std::int32_t rank, const std::string& error) {
  Node* node = nullptr;
  RankState* state = FindRank(rank, &node);
  if (state == nullptr || state->life == RankLife::kExited) return;
  ExitRank(*node, *state, {1, 0}, error, false, false);
  KillPeersOf(rank);
}

void ScriptedCluster::StopRank(std::int32_t rank) {
  Node* node = nullptr;
  if (FindRank(rank, &node) != nullptr) node->stopped[rank] = true;
}

void ScriptedCluster::CorruptCheckpoint(std::int64_t step, bool is_noticed) {
  for (auto& [name, node] : nodes_) {
    for (NodeRunState& run : node->state.runs) {
      for (RankState& rank : run.ranks) {
        if (rank.attempt != training_) continue;
        const std::string error = "sha256 differs from the one reported";
        bad_files_[{step, training_.value}] = error;
        if (!is_noticed) return;
        CheckpointShardBad bad;
        bad.run = spec_.run;
        bad.attempt = training_;
        bad.step = steadyrun::Step{step};
        bad.rank = rank.rank;
        bad.path = fmt::format("/ckpt/attempt-{}/step-{}/rank-{}",
                               training_.value, step, rank.rank.value);
        bad.error = error;
        Report(*node, bad);
        return;
      }
    }
  }
}

void ScriptedCluster::Train() {
  if (now_ < ready_at_ || training_.value == 0) return;
  std::int32_t able = 0;
  for (auto& [name, node] : nodes_) {
    if (node->is_dead || node->is_frozen) continue;
    for (NodeRunState& run : node->state.runs) {
      for (RankState& rank : run.ranks) {
        able += rank.attempt == training_ && rank.life == RankLife::kAlive &&
                        !node->stopped[rank.rank.value]
                    ? 1
                    : 0;
      }
    }
  }
  if (able == spec_.WorldSize()) CompleteStep();
}

void ScriptedCluster::CompleteStep() {
  const std::int64_t step = step_ + 1;
  if (BeginLongPhase(step)) return;
  auto raises = trainer_.raises_at.find(step);
  if (raises != trainer_.raises_at.end()) {
    FailRank(raises->second, "ValueError: bad sample in batch");
    return;
  }
  step_ = step;
  ready_at_ = now_ + FromSeconds(trainer_.step_seconds);
  const bool is_nan =
      trainer_.nan_always.contains(step) ||
      (trainer_.nan_once.contains(step) && nan_done_.insert(step).second);
  ReportStep(step, is_nan);
  bool is_commanded = false;
  for (const auto& [name, word] : words_) {
    is_commanded |= word.step == step && !trainer_.ignores_save;
  }
  const bool is_own =
      trainer_.save_every > 0 && step > 0 && step % trainer_.save_every == 0;
  if (is_own || is_commanded) SaveStep(is_own);
  if (spec_.target_steps > 0 && step == spec_.target_steps - 1) {
    FinishRanks(step);
  }
}

// A declared phase before this step, once; then the step itself.
bool ScriptedCluster::BeginLongPhase(std::int64_t step) {
  auto it = trainer_.long_phases.find(step);
  if (it == trainer_.long_phases.end()) return false;
  const auto [phase, seconds] = it->second;
  trainer_.long_phases.erase(it);
  ready_at_ = now_ + FromSeconds(seconds);
  for (auto& [name, node] : nodes_) {
    for (NodeRunState& run : node->state.runs) {
      for (RankState& rank : run.ranks) {
        rank.phase = phase;
        ++rank.phase_seq;
        node->progressed[rank.rank.value] = now_;
      }
    }
  }
  return true;
}

void ScriptedCluster::ReportStep(std::int64_t step, bool is_nan) {
  const auto finite = static_cast<float>(loss_.At(step));
  for (auto& [name, node] : nodes_) {
    StepBlock block;
    block.run = spec_.run;
    block.attempt = training_;
    block.step = steadyrun::Step{step};
    block.metrics = {static_cast<std::uint32_t>(Metric::kStepSeconds),
                     static_cast<std::uint32_t>(Metric::kLoss),
                     static_cast<std::uint32_t>(Metric::kGradNorm)};
    std::vector<float> loss;
    for (NodeRunState& run : node->state.runs) {
      for (RankState& rank : run.ranks) {
        if (rank.attempt != training_) continue;
        rank.step = block.step;
        rank.phase = Phase::kStep;
        ++rank.phase_seq;
        node->progressed[rank.rank.value] = now_;
        block.ranks.push_back(static_cast<std::uint32_t>(rank.rank.value));
        const float nan = std::numeric_limits<float>::quiet_NaN();
        loss.push_back(is_nan && rank.rank.value == 1 ? nan : finite);
      }
    }
    if (block.ranks.empty()) continue;
    block.values.assign(block.ranks.size(),
                        static_cast<float>(trainer_.step_seconds));
    block.values.insert(block.values.end(), loss.begin(), loss.end());
    block.values.insert(block.values.end(), block.ranks.size(), 1.0F);
    Report(*node, block);
  }
}

void ScriptedCluster::FinishRanks(std::int64_t step) {
  for (auto& [name, node] : nodes_) {
    for (NodeRunState& run : node->state.runs) {
      for (RankState& rank : run.ranks) {
        if (rank.attempt != training_) continue;
        Report(*node, RankFinished{spec_.run, training_, rank.rank,
                                   steadyrun::Step{step}, "c0ffee"});
        ExitRank(*node, rank, {0, 0}, "", false, false);
      }
    }
  }
}

// On their own all ranks save; on command those that have the word for it.
void ScriptedCluster::SaveStep(bool is_own) {
  ready_at_ += FromSeconds(trainer_.save_seconds);
  for (auto& [name, node] : nodes_) {
    const auto word = words_.find(name);
    const bool has_word = word != words_.end() && word->second.step == step_ &&
                          !trainer_.ignores_save;
    const bool then_stop = has_word && word->second.then_stop;
    if (!is_own && !has_word) continue;
    for (NodeRunState& run : node->state.runs) {
      for (RankState& rank : run.ranks) {
        if (rank.attempt != training_) continue;
        CheckpointShard shard;
        shard.run = spec_.run;
        shard.attempt = training_;
        shard.step = rank.step;
        shard.rank = rank.rank;
        shard.path =
            fmt::format("/ckpt/attempt-{}/step-{}/rank-{}", training_.value,
                        rank.step.value, rank.rank.value);
        shard.size_bytes = 1000;
        shard.sha256 = "abc";
        shard.shards = spec_.WorldSize();
        shard.save_seconds = trainer_.save_seconds;
        Later(FromSeconds(trainer_.save_seconds) + kHashTime,
              [this, n = node.get(), s = std::move(shard)] {
                if (!n->is_dead && !n->is_frozen) Report(*n, s);
              });
        if (!then_stop) continue;
        Later(FromSeconds(trainer_.save_seconds),
              [this, n = node.get(), r = rank.rank.value] {
                Node* owner = nullptr;
                RankState* state = FindRank(r, &owner);
                if (owner == n && state->life != RankLife::kExited) {
                  ExitRank(*n, *state, {0, 0}, "", false, false);
                }
              });
      }
    }
  }
}

}  // namespace steadyrun
