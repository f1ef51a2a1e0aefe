#include "server/detect/speed/work_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace steadyrun {
namespace {

constexpr double kMostResidual = 0.10;
// Relative to the weight of one step: keeps the solution finite when a term
// does not vary, and is far below what noise does.
constexpr double kRidge = 1e-6;

bool IsUsable(float value) { return std::isfinite(value) && value > 0; }

double MeanOfUsable(std::span<const float> values) {
  double sum = 0;
  std::size_t count = 0;
  for (const float value : values) {
    if (!IsUsable(value)) continue;
    sum += value;
    ++count;
  }
  return count == 0 ? 0 : sum / static_cast<double>(count);
}

}  // namespace

WorkModel::Vector WorkModel::Terms(double tokens, double squares) const {
  return {1, tokens / token_scale_,
          square_scale_ > 0 ? squares / square_scale_ : 0};
}

void WorkModel::SetScales(std::span<const float> compute,
                          std::span<const float> tokens,
                          std::span<const float> squares) {
  time_scale_ = MeanOfUsable(compute);
  token_scale_ = MeanOfUsable(tokens);
  square_scale_ = MeanOfUsable(squares);
}

void WorkModel::Learn(std::span<const float> compute,
                      std::span<const float> tokens,
                      std::span<const float> squares) {
  if (tokens.size() != compute.size()) return;
  if (squares.size() != compute.size()) squares = {};
  if (time_scale_ <= 0 || token_scale_ <= 0) {
    SetScales(compute, tokens, squares);
    if (time_scale_ <= 0 || token_scale_ <= 0) return;
  }
  // Of very many ranks every n-th is asked, each step others.
  const std::size_t stride =
      std::max<std::size_t>(1, compute.size() / kSamples);
  std::array<Vector, kTerms> products{};
  Vector targets{};
  std::size_t count = 0;
  for (std::size_t i = steps_ % stride; i < compute.size(); i += stride) {
    const float square = squares.empty() ? 0 : squares[i];
    if (!IsUsable(compute[i]) || !IsUsable(tokens[i]) ||
        !std::isfinite(square)) {
      continue;
    }
    double time = compute[i] / time_scale_;
    if (steps_ > 0) {
      const double expected = Predict(tokens[i], square) / time_scale_;
      time = std::clamp(time, expected * (1 - kMostResidual),
                        expected * (1 + kMostResidual));
    }
    const Vector terms = Terms(tokens[i], square);
    for (std::size_t a = 0; a < kTerms; ++a) {
      for (std::size_t b = 0; b < kTerms; ++b) {
        products[a][b] += terms[a] * terms[b];
      }
      targets[a] += terms[a] * time;
    }
    ++count;
  }
  if (count == 0) return;
  for (std::size_t a = 0; a < kTerms; ++a) {
    for (std::size_t b = 0; b < kTerms; ++b) {
      products_[a][b] = kForgetting * products_[a][b] +
                        products[a][b] / static_cast<double>(count);
    }
    targets_[a] =
        kForgetting * targets_[a] + targets[a] / static_cast<double>(count);
  }
  ++steps_;
  Solve();
}

void WorkModel::Solve() {
  std::array<Vector, kTerms> matrix = products_;
  Vector right = targets_;
  for (std::size_t a = 0; a < kTerms; ++a) matrix[a][a] += kRidge;
  // Gauss; the matrix is symmetric and, with the ridge, positive definite, so
  // no pivot is zero.
  for (std::size_t a = 0; a < kTerms; ++a) {
    for (std::size_t b = a + 1; b < kTerms; ++b) {
      const double factor = matrix[b][a] / matrix[a][a];
      for (std::size_t c = a; c < kTerms; ++c) {
        matrix[b][c] -= factor * matrix[a][c];
      }
      right[b] -= factor * right[a];
    }
  }
  for (std::size_t a = kTerms; a-- > 0;) {
    double sum = right[a];
    for (std::size_t b = a + 1; b < kTerms; ++b) {
      sum -= matrix[a][b] * weights_[b];
    }
    weights_[a] = sum / matrix[a][a];
  }
}

float WorkModel::Predict(float tokens, float squares) const {
  const Vector terms = Terms(tokens, std::isfinite(squares) ? squares : 0);
  double time = 0;
  for (std::size_t a = 0; a < kTerms; ++a) time += weights_[a] * terms[a];
  return static_cast<float>(time_scale_ * std::clamp(time, 0.25, 4.0));
}

}  // namespace steadyrun
