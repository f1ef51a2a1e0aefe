#include "server/detect/phase_deadlines.h"

#include <algorithm>

namespace steadyrun {
namespace {

// How much of the longest turn seen is still normal.
constexpr double kLongestFactor = 2;

}  // namespace

std::optional<PhaseDeadlines::Group> PhaseDeadlines::GroupOf(Phase phase) {
  switch (phase) {
    case Phase::kRollout:
      return Group::kRollout;
    case Phase::kReward:
      return Group::kReward;
    case Phase::kReference:
      return Group::kReference;
    case Phase::kWeightSync:
      return Group::kWeightSync;
    case Phase::kStep:
    case Phase::kData:
    case Phase::kForward:
    case Phase::kBackward:
    case Phase::kOptimizer:
      return Group::kTrain;
    case Phase::kUnspecified:
    case Phase::kStartup:
    case Phase::kCheckpoint:
    case Phase::kEvaluation:
    case Phase::kCompile:
    case Phase::kShutdown:
    case Phase::kOther:
      return std::nullopt;
  }
  return std::nullopt;
}

void PhaseDeadlines::Begin(std::size_t world_size) {
  turns_.assign(world_size, Turn{});
  for (Learned& learned : learned_) CloseStep(&learned);
}

void PhaseDeadlines::Observe(const RankState& rank, MonoTime now) {
  const auto index = static_cast<std::size_t>(rank.rank.value);
  if (rank.rank.value < 0 || index >= turns_.size()) return;
  Turn& turn = turns_[index];
  const std::optional<Group> group = GroupOf(rank.phase);
  is_rl_ |= group.has_value() && *group != Group::kTrain;
  if (turn.phase != Phase::kUnspecified && turn.phase_seq == rank.phase_seq) {
    turn.seen = now;
    return;
  }
  const MonoTime began = now - std::max(rank.phase_age, Duration::zero());
  const std::optional<Group> ended = GroupOf(turn.phase);
  if (turn.teaches && ended.has_value()) {
    const bool is_next = rank.phase_seq == turn.phase_seq + 1;
    const MonoTime end = is_next ? began : turn.seen;
    Learn(*ended, rank.step, ToSeconds(end - turn.began));
  }
  turn = {began, now, rank.phase_seq, rank.phase, rank.step != kNoStep};
}

void PhaseDeadlines::Learn(Group group, Step step, double seconds) {
  Learned& learned = learned_[static_cast<std::size_t>(group)];
  if (step > learned.step) {
    CloseStep(&learned);
    learned.step = step;
  }
  learned.longest_seconds = std::max(learned.longest_seconds, seconds);
}

void PhaseDeadlines::CloseStep(Learned* learned) {
  learned->longest_turns.Add(learned->longest_seconds);
  learned->longest_seconds = 0;
  learned->step = kNoStep;
}

std::optional<Duration> PhaseDeadlines::Of(Phase phase, double factor,
                                           Duration maximum) const {
  const std::optional<Group> group = GroupOf(phase);
  if (!group.has_value() || !is_rl_) return std::nullopt;
  const Learned& learned = learned_[static_cast<std::size_t>(*group)];
  const StepTimeSketch& turns = learned.longest_turns;
  const double longest = std::max(turns.Quantile(1), learned.longest_seconds);
  const bool is_known = turns.Size() >= kEnoughSteps;
  const double usual = is_known ? turns.Quantile(0.99) : longest;
  Duration deadline = FromSeconds(factor * usual);
  deadline = std::max(deadline, *group == Group::kTrain ? kTrainFloor : kFloor);
  if (!is_known) {
    deadline = std::max(deadline,
                        *group == Group::kRollout ? kRolloutWarmUp : kWarmUp);
  }
  return std::max(std::min(deadline, maximum),
                  FromSeconds(kLongestFactor * longest));
}

}  // namespace steadyrun
