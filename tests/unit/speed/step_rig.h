#pragma once

// Rows of a training run as the detectors of speed and integrity see them,
// with seeded noise. Tests bend it.

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/robust_stats.h"
#include "proto/messages/messages.h"
#include "server/detect/watched_attempt.h"
#include "server/model/step_row.h"

namespace steadyrun {

inline constexpr Now kRigNow{MonoTime{std::chrono::seconds(50)},
                             WallTime{std::chrono::seconds(1'700'000'000)}};

inline WatchedAttempt RigAttempt(std::size_t ranks, std::size_t per_node = 8) {
  WatchedAttempt attempt;
  attempt.run = "run";
  attempt.attempt = AttemptId{1};
  for (std::size_t r = 0; r < ranks; ++r) {
    attempt.rank_nodes.push_back("n" + std::to_string(r / per_node));
  }
  return attempt;
}

// Columns are added in any order; Take() hands the row out and starts the next
// step.
class RowMaker {
 public:
  explicit RowMaker(std::size_t ranks) : ranks_(ranks) {}

  RowMaker& Set(Metric metric, std::vector<float> values) {
    metrics_.emplace_back(static_cast<std::uint32_t>(metric),
                          std::move(values));
    return *this;
  }
  RowMaker& Set(const std::string& name, std::vector<float> values) {
    names_.push_back(name);
    metrics_.emplace_back(
        kFirstNamedMetric + static_cast<std::uint32_t>(names_.size()) - 1,
        std::move(values));
    return *this;
  }
  RowMaker& All(Metric metric, float value) {
    return Set(metric, std::vector<float>(ranks_, value));
  }
  RowMaker& All(const std::string& name, float value) {
    return Set(name, std::vector<float>(ranks_, value));
  }
  // Also the row's median; on all ranks alike, as steps are synchronised.
  RowMaker& StepSeconds(double seconds) {
    step_seconds_ = seconds;
    return All(Metric::kStepSeconds, static_cast<float>(seconds));
  }

  StepRow Take() {
    StepRow row;
    row.run = "run";
    row.attempt = AttemptId{1};
    row.step = step;
    row.world_size = static_cast<std::int32_t>(ranks_);
    row.names = std::move(names_);
    row.step_seconds = row.step_seconds_max = step_seconds_;
    for (auto& [metric, values] : metrics_) {
      row.metrics.push_back(metric);
      if (metric == static_cast<std::uint32_t>(Metric::kTokens)) {
        for (const float value : values) row.tokens += value;
      }
      row.values.insert(row.values.end(), values.begin(), values.end());
    }
    metrics_.clear();
    names_.clear();
    step_seconds_ = 0;
    step = step.Next();
    return row;
  }

  Step step{1};

 private:
  std::size_t ranks_;
  std::vector<std::pair<std::uint32_t, std::vector<float>>> metrics_;
  std::vector<std::string> names_;
  double step_seconds_ = 0;
};

// Compute times of healthy ranks: noise of 1 %, ranks that differ for good by
// 0.5 %, pauses of up to 50 % in 0.2 % of the steps.
class ComputeNoise {
 public:
  ComputeNoise(std::size_t ranks, std::uint64_t seed) : random_(seed) {
    for (std::size_t r = 0; r < ranks; ++r) bias_.push_back(0.005 * Normal());
  }
  std::vector<float> Step(double seconds, double noise = 0.01) {
    std::vector<float> values;
    for (const double bias : bias_) {
      double factor = 1 + bias + noise * Normal();
      if (unit_(random_) < 0.002) factor += 0.5 * unit_(random_);
      values.push_back(static_cast<float>(seconds * factor));
    }
    return values;
  }
  double Normal() { return normal_(random_); }
  double Uniform() { return unit_(random_); }

 private:
  std::mt19937_64 random_;
  std::normal_distribution<double> normal_;
  std::uniform_real_distribution<double> unit_;
  std::vector<double> bias_;
};

}  // namespace steadyrun
