#pragma once

// The loss jumps, and whether it comes back by itself.
//
// Model. Each finite loss is scored against a trend that follows the slope
// (trend_window.h; scale at least 0.2 % of the loss). A spike begins
//   a. when three of five points lie `threshold` (5) scales above the trend:
//      single points are data noise, one rank's micro-batch for instance;
//   b. when a CUSUM of scores (slack 1.5, each clipped at 4) passes 11: a loss
//      that climbs slowly never has three high points before the trend has
//      followed it. None of 125,000 healthy steps of real runs passes it;
//   c. when two of five points lie above it and the gradient norm is high as
//      well: two witnesses need less repetition. One point is not enough, even
//      then: healthy GPT-2 training shows it.
// The onset is where the CUSUM last left zero, at most 32 points back.
//
// While a spike is open the trend stands still. Blocks of ten points are
// judged by their medians, in scales above it:
//   benign     two blocks in a row below 3: the loss is back (BLOOM-176B took
//              30 steps, Llama-3.1-8B after a sevenfold jump 140);
//   malignant  a loss that is not finite; or 60 points above 20 scales
//              without having fallen by a fifth from the highest block; or
//              never half-way down after `malignant_after` (100) points; or
//              not down to 5 scales after twice as many. One that rises anew
//              on its way down (by a quarter above the highest block) gets
//              half as long, and one and a half times as long, from there, and
//              four times as long in all.
// Published rules call a spike malignant that is above 20 MAD for 20 steps, or
// not back after 100; real spikes that came back by themselves break both, but
// all were falling by then.
//
// A malignant spike stays open until the loss is back, or for 1000 points;
// then what is there is learned as the trend.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/ids.h"
#include "server/detect/curve/curve_report.h"
#include "server/detect/curve/options.h"
#include "server/detect/curve/trend_window.h"

namespace steadyrun {

class LossSpike {
 public:
  explicit LossSpike(const LossSpikeOptions& options);

  void Begin();
  // nullopt: not reported. `is_grad_high`: see GradExplosion::IsHigh().
  void Observe(const CurveContext& context, std::optional<double> loss,
               bool is_grad_high);
  // The open spike was the beginning of a divergence: that is told instead.
  void BecomeDivergence(const CurveContext& context);

  bool IsOpen() const { return state_ != State::kCalm; }
  const TrendWindow& Trend() const { return trend_; }

 private:
  double Doubt(std::int64_t points) const;
  // kHandedOver: a divergence has taken its place.
  enum class State { kCalm, kSuspected, kMalignant, kHandedOver };
  static constexpr std::size_t kBlock = 10;

  void Watch(const CurveContext& context, double loss, bool is_grad_high);
  void Open(const CurveContext& context, double loss, double score);
  void Judge(const CurveContext& context, double score);
  void JudgeBlock(const CurveContext& context);
  void JudgePatience(const CurveContext& context);
  void CallMalignant(const CurveContext& context, std::string why);
  // Told to nobody once it is handed over.
  void End(const CurveContext& context, std::string reason);

  LossSpikeOptions options_;
  TrendWindow trend_;
  State state_ = State::kCalm;
  // Calm: the way to a spike.
  double cusum_ = 0;
  std::uint64_t high_ = 0;  // Bits: which of the last points were high.
  Step first_;              // Where the CUSUM left zero.
  std::int64_t first_point_ = 0;
  std::int64_t rejected_ = 0;
  // Open: the way out.
  Step onset_;
  double base_ = 0;
  std::array<double, kBlock> block_{};
  std::int64_t open_points_ = 0;
  double highest_ = 0;  // Of the blocks' medians.
  double lowest_ = 0;
  double newest_ = 0;
  std::int64_t risen_at_ = 0;  // Open points when it last rose by a quarter.
  double trough_ = 0;          // Lowest block since.
  std::int64_t calm_blocks_ = 0;
  double peak_ = 0;  // Highest loss.
};

}  // namespace steadyrun
