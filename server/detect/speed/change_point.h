#pragma once

// Bayesian online change-point detection (Adams and MacKay, 2007) on one
// series: how long ago did its level last change?
//
//   p(r = 0)     = H * sum of p(r') pi(r')          a change now
//   p(r = r' + 1) = (1 - H) * p(r') pi(r')          none
//
// pi: Student-t predictive of a normal with unknown mean and variance (prior:
// normal-inverse-gamma). H = 1/250 values. Run lengths are cut at kMost; the
// longest keeps what would go beyond, as after 200 values nothing is learnt
// from the 201st. O(kMost) a value, about 8 KB: for series of the job, not of
// ranks. No series may be fed a value that is not finite.

#include <array>
#include <cstddef>

namespace steadyrun {

class ChangePoint {
 public:
  static constexpr std::size_t kMost = 200;

  // `sigma`: the noise the prior expects, in the units of the series. The
  // variance is learnt; the prior only matters for the first few values.
  explicit ChangePoint(double sigma) : sigma_(sigma) {}

  void Reset() { size_ = 0; }
  void Add(double value);

  // Probability that the last change was fewer than `values` values ago.
  double Recent(std::size_t values) const;
  // Values since the likeliest last change; 0 before the first value.
  std::size_t LikeliestLength() const;

 private:
  struct Run {
    double probability = 0;
    double mean = 0;
    double kappa = 0;  // Weight of the mean, in values.
    double alpha = 0;
    double beta = 0;
  };
  Run Prior(double value) const;

  double sigma_;
  std::array<Run, kMost> runs_;  // By run length less 1.
  std::size_t size_ = 0;
};

}  // namespace steadyrun
