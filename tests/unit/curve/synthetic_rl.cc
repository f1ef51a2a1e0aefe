#include "tests/unit/curve/synthetic_rl.h"

#include <algorithm>
#include <cmath>

#include "server/detect/curve/curve_watch.h"
#include "tests/unit/curve/draw.h"

namespace steadyrun {
namespace {

constexpr std::int64_t kWindow = 60;

// Of one run, all drawn at its start.
struct RlShape {
  explicit RlShape(Draw& draw)
      : tau(draw.Uniform(100, 700)),
        gain(draw.Uniform(0.1, 0.6)),
        base(draw.Uniform(-0.8, 0.2)),
        noise(draw.Uniform(0.02, 0.08)),
        wander(draw.Uniform(0, 0.5)),
        entropy(draw.Uniform(0.2, 1.2)),
        entropy_fall(draw.Uniform(0, 1.2)),
        entropy_noise(draw.Uniform(0.03, 0.1)),
        kl(draw.Uniform(0, 0.15)),
        length(draw.Uniform(300, 1300)),
        growth(draw.Uniform(0, 2)),
        clip(draw.Uniform(0.001, 0.004)),
        pace(draw.Uniform(0, 1)) {}

  double tau, gain, base, noise, wander, entropy, entropy_fall, entropy_noise,
      kl, length, growth, clip;
  double pace;  // How fast a fault is, 0 to 1.
};

// The means of one step; noise is added to them.
struct RlMeans {
  double score, reward_extra = 0, entropy, kl, clip, length, cut, mismatch,
                eval;
};

RlMeans HealthyMeans(const RlShape& shape, double t) {
  const double learned = 1 - std::exp(-t / shape.tau);
  RlMeans m{};
  m.score = shape.base + shape.gain * learned;
  m.entropy = shape.entropy * std::exp(-shape.entropy_fall * learned);
  m.kl = shape.kl * learned;
  m.clip = shape.clip;
  m.length = shape.length * (1 + shape.growth * learned);
  m.cut = std::min(1.0, 0.01 * std::exp(1.5 * shape.growth * learned));
  m.mismatch = 1e-3;
  m.eval = 0.3 + 0.4 * shape.gain * learned;
  return m;
}

// k steps after the onset.
void Spoil(RlFault fault, const RlShape& shape, double k, RlMeans* m) {
  switch (fault) {
    case RlFault::kNone:
      return;
    case RlFault::kKl: {
      const double factor = std::exp2(std::min(8.0, k / (3 + 7 * shape.pace)));
      m->kl = std::max(m->kl, 0.02) * factor;
      m->clip *= factor;
      return;
    }
    case RlFault::kEntropy:
      m->entropy *= std::pow(0.1, std::min(1.0, k / (10 + 20 * shape.pace)));
      return;
    case RlFault::kReward:
      m->score -= shape.noise * (8 + 12 * shape.pace) *
                  std::min(1.0, k / (10 + 30 * shape.pace));
      return;
    case RlFault::kLength:
      m->cut = std::min(1.0, m->cut + k * (0.02 + 0.03 * shape.pace));
      m->length *= 1 + k / 20;
      m->score -= shape.noise * k / 10;
      return;
    case RlFault::kMismatch:
      m->mismatch += (0.15 + 0.85 * shape.pace) * std::min(1.0, k / 10);
      return;
    case RlFault::kHacking:
      m->score -= shape.noise * k / 8;
      m->reward_extra = shape.noise * k / 4;
      m->kl += 0.01 * k;
      m->eval -= 0.01 * k;
      return;
  }
}

}  // namespace

std::string_view RlFaultName(RlFault fault) {
  switch (fault) {
    case RlFault::kNone:
      return "healthy RL";
    case RlFault::kKl:
      return "KL blow-up";
    case RlFault::kEntropy:
      return "entropy collapse";
    case RlFault::kReward:
      return "reward collapse";
    case RlFault::kLength:
      return "length explosion";
    case RlFault::kMismatch:
      return "rollout mismatch";
    case RlFault::kHacking:
      return "reward hacking";
  }
  return "?";
}

IncidentKind RlFaultKind(RlFault fault) {
  switch (fault) {
    case RlFault::kNone:
    case RlFault::kKl:
      return IncidentKind::kKlBlowup;
    case RlFault::kEntropy:
      return IncidentKind::kEntropyCollapse;
    case RlFault::kReward:
      return IncidentKind::kRewardCollapse;
    case RlFault::kLength:
      return IncidentKind::kLengthExplosion;
    case RlFault::kMismatch:
      return IncidentKind::kRolloutMismatch;
    case RlFault::kHacking:
      return IncidentKind::kRewardHacking;
  }
  return IncidentKind::kKlBlowup;
}

SyntheticRl MakeRl(std::uint64_t seed, RlFault fault, std::int64_t steps) {
  Draw draw(seed * 8 + static_cast<std::uint64_t>(fault));
  const RlShape shape(draw);
  SyntheticRl run;
  run.names = {"actor/entropy",
               "critic/score/mean",
               "critic/rewards/mean",
               "actor/kl_loss",
               "actor/ppo_kl",
               "actor/pg_clipfrac",
               "response_length/mean",
               "response_length/clip_ratio",
               "rollout_corr/kl",
               "training/rollout_probs_diff_mean",
               "val-core/gsm8k/acc/mean@1"};
  if (fault != RlFault::kNone) {
    run.onset = steps / 2 + static_cast<std::int64_t>(draw.Uniform(0, 50));
  }
  double wander = 0;
  for (std::int64_t t = 0; t < steps; ++t) {
    const bool is_spoilt = run.onset >= 0 && t >= run.onset;
    const bool is_stuck = is_spoilt && fault == RlFault::kEntropy;
    RlMeans m =
        HealthyMeans(shape, static_cast<double>(is_stuck ? run.onset : t));
    if (is_spoilt) Spoil(fault, shape, static_cast<double>(t - run.onset), &m);
    wander += -wander / 40 +
              shape.noise * shape.wander * std::sqrt(2.0 / 40) * draw.Normal();
    const double score = m.score + wander + shape.noise * draw.Normal();
    const auto spread = [&](double mean, double relative) {
      return mean * std::exp(relative * draw.Normal());
    };
    run.rows.push_back(
        {spread(m.entropy, shape.entropy_noise), score,
         score + m.reward_extra - 0.02 * m.kl, spread(m.kl, 0.2),
         3e-4 * draw.Normal(), spread(m.clip, 0.2), spread(m.length, 0.05),
         std::min(1.0, spread(m.cut, 0.3)),
         m.mismatch * (m.mismatch > 0.01 ? 1 : draw.Normal()),
         spread(2e-3, 0.15),
         t % 20 == 0 ? m.eval + 0.03 * draw.Normal() : std::nan("")});
  }
  return run;
}

RlScore ScoreRl(RlFault fault, std::uint64_t from, std::uint64_t to,
                std::uint64_t runs, std::int64_t steps) {
  RlScore score;
  CurveWatch watch{CurveOptions()};
  for (std::uint64_t i = 0; i < (to - from + 1) * runs; ++i) {
    const std::uint64_t seed = (from + i / runs) * 1000 + i % runs;
    const SyntheticRl run = MakeRl(seed, fault, steps);
    WatchedAttempt attempt;
    attempt.run = std::to_string(seed);
    attempt.attempt = AttemptId{1};
    watch.Begin(attempt, Now());
    Verdicts verdicts;
    for (std::size_t t = 0; t < run.rows.size(); ++t) {
      CurvePoint point;
      point.step = Step{static_cast<std::int64_t>(t)};
      point.names = run.names;
      point.values = run.rows[t];
      watch.ObservePoint(point, Now(), &verdicts);
    }
    ++score.runs;
    score.points += run.onset >= 0 ? run.onset : steps;
    bool is_found = false;
    for (const Finding& finding : verdicts.findings) {
      const std::int64_t after = finding.step.value - run.onset;
      if (run.onset < 0 || after < 0) {
        ++score.false_alarms;
      } else if (finding.kind == RlFaultKind(fault) && after <= kWindow &&
                 !is_found) {
        is_found = true;
        score.delays.push_back(after);
      }
    }
    score.found += is_found ? 1 : 0;
  }
  return score;
}

}  // namespace steadyrun
