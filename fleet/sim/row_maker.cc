#include "fleet/sim/row_maker.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "fleet/sim/random.h"

namespace steadyrun::fleet {
namespace {

enum Stream : std::uint64_t { kBias = 1, kRanks, kJob, kLoss, kHash };

constexpr double kMeanTokens = 16384;
constexpr double kMeanLength = 2048;
constexpr double kRlLength = 2000;  // Of the first responses.
constexpr double kAttentionShare = 0.25;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

bool Concerns(const Fault& fault, std::int32_t rank) {
  return rank >= fault.rank.value && rank < fault.rank.value + fault.ranks;
}

// Steps since the onset, from 0.
double Age(const Fault& fault, Step step) {
  return static_cast<double>(step.value - fault.onset.value);
}

// The gradient leads the loss, by factors of 3 a step, as BLOOM's did
// (0.24, 0.95, 2.4, 15.9, 145 in 5 steps); it falls as the loss does.
double SpikeGrad(double age, double most, double fall) {
  return std::min(most, std::pow(3, age + 1)) * std::exp(-age / fall) + 1;
}

constexpr double kLead = 2;  // Steps by which the gradient leads the loss.

double BenignSpike(const Fault& fault, double age) {
  if (age < kLead) return 0;
  const double since = age - kLead;
  const double fall = static_cast<double>(fault.steps) / 3;
  return fault.severity * (1 - std::exp(-(since + 1) / 1.5)) *
         std::exp(-since / fall);
}

double MalignantSpike(const Fault& fault, double age) {
  if (age < kLead) return 0;
  return fault.severity * (1 - std::exp(-(age - kLead + 1) / 3));
}

}  // namespace

RowMaker::RowMaker(const FleetProfile& profile, std::int32_t ranks,
                   std::uint64_t seed)
    : profile_(profile), ranks_(ranks), seed_(seed) {
  Random random(seed, kBias);
  for (std::int32_t r = 0; r < ranks; ++r) {
    bias_.push_back(
        static_cast<float>(1 + profile.noise.rank_bias * random.Normal()));
  }
  slow_.assign(static_cast<std::size_t>(ranks), 1);
}

float* RowMaker::Column(StepRow* row, std::uint32_t metric) {
  const auto world = static_cast<std::size_t>(ranks_);
  row->metrics.push_back(metric);
  row->values.resize(row->metrics.size() * world, AbsentValue());
  return row->values.data() + (row->metrics.size() - 1) * world;
}

float* RowMaker::NamedColumn(StepRow* row, const char* name) {
  row->names.emplace_back(name);
  return Column(row, kFirstNamedMetric +
                         static_cast<std::uint32_t>(row->names.size()) - 1);
}

RowMaker::Curves RowMaker::CurvesAt(const StepAsk& ask) const {
  const Curve& curve = profile_.curve;
  const auto step = static_cast<double>(ask.step.value);
  Random random(seed_, kLoss, static_cast<std::uint64_t>(ask.step.value));
  Curves at;
  double noise = random.Normal();
  if (random.Chance(curve.tail_share)) {
    noise = random.Uniform(3, 7) * (random.Chance(0.5) ? 1 : -1);
  }
  at.loss = curve.is_rl
                ? 0.0016 * noise
                : (curve.loss_floor +
                   (curve.loss_start - curve.loss_floor) *
                       std::pow(1 + step / curve.bend, -curve.exponent)) *
                      (1 + curve.loss_noise * noise);
  at.grad_norm = curve.grad_norm * std::exp(curve.grad_noise * random.Normal());
  // High at the beginning, as everywhere.
  if (!curve.is_rl) at.grad_norm *= 1 + 8 * std::exp(-step / 50);
  if (random.Chance(curve.grad_tail_share)) {
    at.grad_norm *= random.Uniform(1.5, 4);
  }
  for (const Fault* fault : ask.faults) {
    const double age = Age(*fault, ask.step);
    switch (fault->kind) {
      case FaultKind::kSpikeBenign:
        at.loss += BenignSpike(*fault, age);
        at.grad_norm *= SpikeGrad(age, 20 * fault->severity,
                                  static_cast<double>(fault->steps) / 4);
        break;
      case FaultKind::kSpikeMalignant:
        at.loss += MalignantSpike(*fault, age) * (1 + 0.05 * random.Normal());
        at.grad_norm *= SpikeGrad(age, 60 * fault->severity, 40);
        break;
      case FaultKind::kDivergence:
        at.loss += fault->severity * age / 300;
        at.grad_norm *= std::exp(std::min(4.0, age / 150));
        break;
      case FaultKind::kGradExplosion:
        at.grad_norm *= fault->severity;
        break;
      default:
        break;
    }
  }
  return at;
}

double RowMaker::Make(const StepAsk& ask, StepRow* row) {
  row->attempt = ask.attempt;
  row->step = ask.step;
  row->world_size = ranks_;
  row->is_complete = true;
  row->metrics.clear();
  row->names.clear();
  row->values.clear();
  row->values.reserve(10 * static_cast<std::size_t>(ranks_));
  const Curves curves = CurvesAt(ask);
  double seconds = FillRanks(ask, curves, row);
  FillNan(ask, row);
  Random random(seed_ + static_cast<std::uint64_t>(ask.attempt.value), kJob,
                static_cast<std::uint64_t>(ask.step.value));
  double communication =
      profile_.job.step_seconds * profile_.job.communication_share;
  for (const Fault* fault : ask.faults) {
    // A network that is slower for all: the whole step, by the severity.
    if (fault->kind == FaultKind::kSlowdown) {
      communication += fault->severity * (seconds + communication);
    }
  }
  seconds += communication;
  seconds *= 1 + profile_.noise.job * std::abs(random.Normal());
  if (ask.made < profile_.phases.warm_up_steps) {
    const double left =
        1 - static_cast<double>(ask.made) /
                static_cast<double>(profile_.phases.warm_up_steps);
    seconds *= 1 + (profile_.phases.warm_up_factor - 1) * left;
  }
  FillHashes(ask, row);
  if (profile_.curve.is_rl) seconds += FillRl(ask, row);
  seconds += ask.pause_seconds;
  std::fill_n(row->values.data(), ranks_, static_cast<float>(seconds));
  return seconds;
}

double RowMaker::FillRanks(const StepAsk& ask, const Curves& curves,
                           StepRow* row) {
  // Pointers are taken anew after all columns are there: they move.
  for (const Metric metric :
       {Metric::kStepSeconds, Metric::kLoss, Metric::kGradNorm, Metric::kTokens,
        Metric::kComputeSeconds, Metric::kDataSeconds}) {
    Column(row, static_cast<std::uint32_t>(metric));
  }
  NamedColumn(row, kSumSquaredLengths);
  const auto world = static_cast<std::size_t>(ranks_);
  float* loss = row->values.data() + world;
  float* grad = loss + world;
  float* tokens = grad + world;
  float* compute = tokens + world;
  float* data = compute + world;
  float* squares = data + world;

  std::ranges::fill(slow_, 1.0F);
  for (const Fault* fault : ask.faults) {
    if (fault->kind != FaultKind::kStraggler) continue;
    for (std::int32_t r = 0; r < fault->ranks; ++r) {
      slow_[static_cast<std::size_t>(fault->rank.value + r)] *=
          static_cast<float>(1 + fault->severity);
    }
  }
  const Noise& noise = profile_.noise;
  const JobShape& job = profile_.job;
  const double base =
      job.step_seconds * (1 - job.communication_share - job.data_share);
  const double own_noise =
      profile_.curve.is_rl ? 0.001 : profile_.curve.rank_noise * curves.loss;
  Random random(seed_ + static_cast<std::uint64_t>(ask.attempt.value), kRanks,
                static_cast<std::uint64_t>(ask.step.value));
  double slowest = 0;
  for (std::size_t r = 0; r < world; ++r) {
    const double work = std::max(0.2, 1 + noise.work * random.Normal());
    const double length = std::max(0.2, 1 + 3 * noise.work * random.Normal());
    double time = base * work *
                  (1 - kAttentionShare + kAttentionShare * length) *
                  static_cast<double>(bias_[r] * slow_[r]) *
                  (1 + noise.compute * random.Normal());
    const std::uint64_t bits = random.Next();
    const double luck = static_cast<double>(bits >> 40) * 0x1p-24;
    if (luck < noise.pause_share) {
      time *= 1 + noise.pause_most * luck / noise.pause_share;
    }
    const double wait = job.step_seconds * job.data_share *
                        (0.5 + static_cast<double>(bits & 0xffff) / 65536);
    loss[r] = static_cast<float>(curves.loss + own_noise * random.Normal());
    grad[r] = static_cast<float>(curves.grad_norm);
    tokens[r] = static_cast<float>(kMeanTokens * work);
    squares[r] = static_cast<float>(kMeanTokens * kMeanLength * work * length);
    compute[r] = static_cast<float>(time);
    data[r] = static_cast<float>(wait);
    slowest = std::max(slowest, time + wait);
  }
  for (const Fault* fault : ask.faults) {
    if (fault->kind != FaultKind::kDataStall) continue;
    for (std::int32_t r = fault->rank.value;
         r < fault->rank.value + fault->ranks; ++r) {
      const auto i = static_cast<std::size_t>(r);
      data[i] += static_cast<float>(fault->severity * job.step_seconds);
      slowest = std::max(slowest, static_cast<double>(compute[i] + data[i]));
    }
  }
  return slowest;
}

void RowMaker::FillNan(const StepAsk& ask, StepRow* row) {
  const auto world = static_cast<std::size_t>(ranks_);
  float* loss = row->values.data() + world;
  float* grad = loss + world;
  for (const Fault* fault : ask.faults) {
    if (fault->kind != FaultKind::kNan) continue;
    // Its own loss first; the reduced gradient of all in the same step, and
    // from the next step on the parameters of all.
    std::fill_n(grad, world, kNan);
    if (ask.step > fault->onset) {
      std::fill_n(loss, world, kNan);
    } else {
      loss[fault->rank.value] = kNan;
    }
  }
}

void RowMaker::FillHashes(const StepAsk& ask, StepRow* row) {
  const std::int64_t every = profile_.curve.hash_steps;
  if (every == 0 || ask.step.value % every != 0) return;
  const auto world = static_cast<std::size_t>(ranks_);
  for (const char* name : {kHashLow, kHashHigh}) {
    Random random(seed_, kHash,
                  static_cast<std::uint64_t>(2 * ask.step.value) +
                      (name == kHashHigh ? 1 : 0));
    float* hash = NamedColumn(row, name);
    // 24 bits: what a float holds without loss.
    std::fill_n(hash, world, static_cast<float>(random.Next() >> 40));
    for (const Fault* fault : ask.faults) {
      if (fault->kind != FaultKind::kCorruption) continue;
      for (std::int32_t r = 0; r < ranks_; ++r) {
        if (Concerns(*fault, r)) {
          hash[r] = static_cast<float>(random.Next() >> 40);
        }
      }
    }
  }
}

// What an RL trainer's driver logs, once a step: on rank 0. Levels and noise
// are those of public verl logs. Returns the time that generation takes beyond
// its usual share of the step.
double RowMaker::FillRl(const StepAsk& ask, StepRow* row) {
  Random random(seed_, kLoss, static_cast<std::uint64_t>(ask.step.value) << 20);
  const auto noisy = [&](double level, double share) {
    return level * (1 + share * random.Normal());
  };
  const auto step = static_cast<double>(ask.step.value);
  double kl = 3e-5 * random.Normal();
  double kl_loss = noisy(1e-3 * (1 + step / 500), 0.1);
  double clipped = noisy(1.6e-3, 0.08);
  double entropy = noisy(0.15 + 0.15 * std::exp(-step / 400), 0.05);
  double reward =
      -0.5 + 0.7 * (1 - std::exp(-step / 300)) + 0.06 * random.Normal();
  double length = noisy(kRlLength + 400 * (1 - std::exp(-step / 500)), 0.06);
  double at_limit = noisy(0.1, 0.15);
  double mismatch = noisy(1e-3, 0.1);
  double difference = noisy(4e-3, 0.05);
  // Longer responses take longer.
  const double usual = 0.45 * profile_.job.step_seconds;
  double generation = noisy(usual * length / kRlLength, 0.08);
  for (const Fault* fault : ask.faults) {
    const double rise =
        fault->severity * (1 - std::exp(-(Age(*fault, ask.step) + 1) / 12));
    switch (fault->kind) {
      case FaultKind::kKlBlowup:
        kl += 0.2 * rise;
        kl_loss += 0.5 * rise;
        clipped *= 1 + 8 * rise;
        reward -= 0.4 * rise;
        break;
      case FaultKind::kEntropyCollapse:
        entropy *= std::exp(-3 * rise);
        reward -= 0.1 * rise;
        break;
      case FaultKind::kRewardCollapse:
        reward -= 0.6 * rise;
        break;
      case FaultKind::kLengthExplosion:
        at_limit = std::min(0.95, at_limit + 0.4 * rise);
        length *= 1 + rise;
        generation *= 1 + rise;
        break;
      case FaultKind::kRolloutMismatch:
        mismatch += 0.2 * rise;
        difference += 0.04 * rise;
        break;
      case FaultKind::kGenerationStall:
        generation *= fault->severity;
        break;
      default:
        break;
    }
  }
  const std::pair<const char*, double> columns[] = {
      {"actor/ppo_kl", kl},
      {"actor/kl_loss", kl_loss},
      {"actor/pg_clipfrac", clipped},
      {"actor/entropy", entropy},
      {"critic/score/mean", reward},
      {"response_length/mean", length},
      {"response_length/clip_ratio", at_limit},
      {"rollout_corr/kl", mismatch},
      {"training/rollout_probs_diff_mean", difference},
      {"timing_s/gen", generation},
  };
  for (const auto& [name, value] : columns) {
    *NamedColumn(row, name) = static_cast<float>(value);
  }
  return std::max(0.0, generation - usual);
}

}  // namespace steadyrun::fleet
