#pragma once

// What a rank's compute time should be for the work it was given.
//
//   d_hat = c + alpha * tokens + beta * (sum of squared sequence lengths)
//
// Fitted online to the ranks of one role by least squares with forgetting
// (RLS in its information form: three sums of products, solved once a step).
// Comparing ranks without it takes a long batch for a slow device: with
// sequence lengths that spread by 8 %, 964 of 1,000 healthy ranks were
// reported in a simulation.
//
// The constant c is there because padding and fixed costs exist: if tokens do
// not matter, alpha becomes 0 and nothing is normalised. Residuals are cut at
// 10 %, so that the rank that is slow does not teach the model to expect it.
// O(1) state; a step costs at most kSamples products, whatever the world.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace steadyrun {

class WorkModel {
 public:
  // A day of 10 s steps sees 8 half-lives of it; batches of one data set
  // change more slowly.
  static constexpr double kForgetting = 0.999;
  static constexpr std::size_t kSamples = 2048;

  // One step of one role: columns of equal size, by rank; `squares` may be
  // empty. A rank whose values are not finite and positive is left out.
  void Learn(std::span<const float> compute, std::span<const float> tokens,
             std::span<const float> squares);
  bool IsReady() const { return steps_ > 0; }
  // The first step held the squares.
  bool UsesSquares() const { return square_scale_ > 0; }
  // Seconds; meaningful when IsReady(). Kept within a quarter and four times
  // the typical time: outside of what was seen the line says nothing.
  float Predict(float tokens, float squares) const;
  // Seconds of a typical step, as it was when the model began.
  float Typical() const { return static_cast<float>(time_scale_); }

 private:
  static constexpr std::size_t kTerms = 3;
  using Vector = std::array<double, kTerms>;

  Vector Terms(double tokens, double squares) const;
  void SetScales(std::span<const float> compute, std::span<const float> tokens,
                 std::span<const float> squares);
  void Solve();

  // So that all three terms, and the time, are about 1.
  double time_scale_ = 0;
  double token_scale_ = 0;
  double square_scale_ = 0;
  std::array<Vector, kTerms> products_{};
  Vector targets_{};
  Vector weights_{};
  std::uint64_t steps_ = 0;
};

}  // namespace steadyrun
