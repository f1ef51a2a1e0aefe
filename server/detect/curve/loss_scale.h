#pragma once

// fp16 loss scaling collapses.
//
// Model: dynamic scaling halves the scale at an overflow and doubles it after
// some 1000 good steps, so a healthy run loses a factor of two or four now and
// then. A fall by `drop` (16) within `points` (100) means overflow after
// overflow: the activations or gradients have left fp16's range (OPT-175B's
// pattern before each of its divergences). Reported as a warning; as critical
// when the scale comes to 1 or below, where small gradients are lost.
//
// The first search for a scale is none: trainers start at 2^16 to 2^32 and
// fall to what fits. It is over when the scale has first risen, or has stood
// for 50 points. Gone when the scale has grown fourfold from its lowest.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "server/detect/curve/curve_report.h"
#include "server/detect/curve/options.h"

namespace steadyrun {

class LossScale {
 public:
  explicit LossScale(const LossScaleOptions& options) : options_(options) {}

  void Begin() { *this = LossScale(options_); }
  void Observe(const CurveContext& context, std::optional<double> scale);

 private:
  // One stay at one scale.
  struct Stay {
    double scale = 0;
    std::int64_t from = 0;  // Point.
    std::int64_t to = 0;
    Step last;
  };
  // More changes than this within `points` are halvings and doublings in
  // turn; the oldest are forgotten.
  static constexpr std::size_t kStays = 32;

  void Enter(const CurveContext& context, double scale);
  const Stay* HighestWithin(std::int64_t from) const;
  void Judge(const CurveContext& context, double scale);

  LossScaleOptions options_;
  std::array<Stay, kStays> stays_{};
  std::size_t entered_ = 0;
  bool is_settled_ = false;
  bool is_open_ = false;
  bool is_critical_ = false;
  double lowest_ = 0;
};

}  // namespace steadyrun
