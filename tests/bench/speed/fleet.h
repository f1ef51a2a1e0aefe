#pragma once

// A simulated fleet: step rows with realistic noise, seeded. The defaults are
// those of the published comparison this bench repeats: noise of 1 % a step,
// ranks that differ for good by 0.5 %, and in 0.2 % of a rank's steps a pause
// of up to half a step (garbage collection).

#include <cmath>
#include <cstdint>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "proto/messages/messages.h"
#include "server/detect/watched_attempt.h"
#include "server/model/step_row.h"

namespace steadyrun::bench {

inline constexpr Now kNow{MonoTime{std::chrono::hours(1)},
                          WallTime{std::chrono::seconds(1'700'000'000)}};

// splitmix64: fast, and good enough to draw noise from.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL) {}
  std::uint64_t Bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31U);
  }
  // [0, 1).
  float Uniform() { return static_cast<float>(Bits() >> 40U) * 0x1p-24f; }
  float Uniform(float low, float high) {
    return low + (high - low) * Uniform();
  }
  std::size_t Below(std::size_t n) {
    return static_cast<std::size_t>(Bits() % n);
  }
  // Box and Muller: full tails, which a false-alarm rate depends on.
  float Normal() {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    const float radius = std::sqrt(-2 * std::log(1 - Uniform()));
    const float angle = 2 * std::numbers::pi_v<float> * Uniform();
    spare_ = radius * std::sin(angle);
    has_spare_ = true;
    return radius * std::cos(angle);
  }

 private:
  std::uint64_t state_;
  float spare_ = 0;
  bool has_spare_ = false;
};

struct FleetNoise {
  float step = 0.01f;
  float bias = 0.005f;
  float pause_share = 0.002f;
  float pause_most = 0.5f;
  float work = 0;  // Spread of sequence lengths.
};

class Fleet {
 public:
  Fleet(std::size_t ranks, std::uint64_t seed, const FleetNoise& noise = {})
      : noise_(noise),
        random(seed),
        compute(ranks),
        tokens(ranks),
        squares(ranks) {
    for (std::size_t r = 0; r < ranks; ++r) {
      bias_.push_back(noise.bias * random.Normal());
    }
    attempt.run = "run";
    attempt.attempt = AttemptId{1};
    for (std::size_t r = 0; r < ranks; ++r) {
      attempt.rank_nodes.push_back("n" + std::to_string(r / 8));
    }
  }

  std::size_t Size() const { return compute.size(); }

  // The next step's values around 1 s. With work noise the time is
  // 0.2 + 0.5 length + 0.3 length^2.
  void Draw() {
    step = step.Next();
    for (std::size_t r = 0; r < Size(); ++r) {
      float factor = 1 + bias_[r] + noise_.step * random.Normal();
      if (random.Uniform() < noise_.pause_share) {
        factor += noise_.pause_most * random.Uniform();
      }
      if (noise_.work > 0) {
        const float length = std::exp(noise_.work * random.Normal());
        tokens[r] = 4096 * length;
        squares[r] = 4096.0f * 4096 * length * length;
        factor *= 0.2f + 0.5f * length + 0.3f * length * length;
      }
      compute[r] = factor;
    }
  }

  // A row of these columns; no vectors grow once it has been made.
  void Begin(StepRow* row) const {
    row->run = attempt.run;
    row->attempt = attempt.attempt;
    row->step = step;
    row->world_size = static_cast<std::int32_t>(Size());
    row->metrics.clear();
    row->names.clear();
    row->values.clear();
    row->step_seconds = row->tokens = 0;
  }
  static void Add(Metric metric, const std::vector<float>& column,
                  StepRow* row) {
    row->metrics.push_back(static_cast<std::uint32_t>(metric));
    row->values.insert(row->values.end(), column.begin(), column.end());
  }
  static void Add(std::string name, const std::vector<float>& column,
                  StepRow* row) {
    row->metrics.push_back(kFirstNamedMetric +
                           static_cast<std::uint32_t>(row->names.size()));
    row->names.push_back(std::move(name));
    row->values.insert(row->values.end(), column.begin(), column.end());
  }

 private:
  FleetNoise noise_;
  std::vector<float> bias_;

 public:
  Random random;
  WatchedAttempt attempt;
  Step step{0};
  std::vector<float> compute;
  std::vector<float> tokens;
  std::vector<float> squares;
};

}  // namespace steadyrun::bench
