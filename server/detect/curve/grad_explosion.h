#pragma once

// The gradient norm leaves its range.
//
// Model: u = log(norm) against its trend (trend_window.h, scale at least 5 %).
// Three of five points both `threshold` (6) scales and `ratio` (2) times above
// the trend are an explosion. One point is none: clipping deals with it, and
// healthy GPT-2 runs show single norms of seven times the trend. Published
// rules act on one point (Megatron: ten times the maximum of the first 100;
// OLMo-core: 6 sigma; ZClip: 2.5 sigma).
//
// It never asks for more than a person's eye: the onset says from where on
// checkpoints are to be doubted, and rolling back is left to the loss. Norms
// that are zero or not finite are no points: a skipped step reports 0.000, and
// the NaN detector has the others. Gone after 20 points without a high one.

#include <cstdint>
#include <optional>

#include "base/ids.h"
#include "server/detect/curve/curve_report.h"
#include "server/detect/curve/options.h"
#include "server/detect/curve/trend_window.h"

namespace steadyrun {

class GradExplosion {
 public:
  explicit GradExplosion(const GradExplosionOptions& options);

  void Begin();
  void Observe(const CurveContext& context, std::optional<double> norm);

  // A norm above 6 scales and twice its trend was seen within the last three
  // points: the second witness of a loss spike.
  bool IsHigh() const { return (high_ & 0x7) != 0; }

 private:
  void Open(const CurveContext& context, double norm, double score);

  GradExplosionOptions options_;
  TrendWindow trend_;
  std::uint64_t high_ = 0;  // Bits: which of the last points were high.
  Step first_high_;         // Of those in `high_`.
  bool is_open_ = false;
  Step onset_;
  double base_ = 0;
  double peak_ = 0;
  std::int64_t rejected_ = 0;
};

}  // namespace steadyrun
