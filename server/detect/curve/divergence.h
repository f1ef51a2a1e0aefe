#pragma once

// The loss drifts upwards over many steps.
//
// Model: drift_test.h on blocks of ten losses. A divergence is what sums up to
// `threshold` (12), has lasted for at least six blocks (ten while a loss spike
// is open: real ones climb for up to 40 points before they fall), still rises
// by Mann-Kendall (z > 3.1 over the newest 20 blocks of the excursion), and
// whose newest block is not below 0.8 of its highest: a spike that falls back
// is none, however long it takes. A sum of 12 is a rise by a standard deviation
// of single losses within about 150 points.
//
// The second witness is the gradient norm: Mann-Kendall on the 20 newest
// medians of ten norms, z > 3.7 (p < 1e-4, as published for 50 medians of 20,
// which would need 1000 steps). With it the event is malignant and asks for the
// way back. Without it, it is reported: data can be harder, and a norm that
// stays calm says that the training is well. Where no norm is reported the loss
// is malignant alone when it has risen for ten blocks with the same certainty,
// by more than 6 scales and by more than 2 %.
//
// Once reported and later confirmed, it is told again as malignant. Gone when
// the sum is back at zero.

#include <cstdint>
#include <optional>

#include "server/detect/curve/curve_report.h"
#include "server/detect/curve/drift_test.h"
#include "server/detect/curve/options.h"

namespace steadyrun {

class Divergence {
 public:
  explicit Divergence(const DivergenceOptions& options);

  void Begin();
  // `is_spike_open`: see LossSpike::IsOpen().
  void Observe(const CurveContext& context, std::optional<double> loss,
               std::optional<double> grad_norm, bool is_spike_open);
  // It has asked for the way back and is not over.
  bool IsMalignant() const { return state_ == State::kMalignant; }

 private:
  enum class State { kNone, kReported, kMalignant };

  void Judge(const CurveContext& context, bool is_spike_open);
  bool IsDrifting(bool is_spike_open) const;
  double Rise() const;
  bool IsConfirmed() const;
  CurveClaim Describe(const CurveContext& context) const;

  DivergenceOptions options_;
  DriftTest loss_;
  DriftTest norm_;  // For its blocks only: the logarithm of the norm.
  State state_ = State::kNone;
  Step onset_;
};

}  // namespace steadyrun
