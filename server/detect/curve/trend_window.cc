#include "server/detect/curve/trend_window.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "base/robust_stats.h"

namespace steadyrun {
namespace {

// Fewer points have no slope worth following.
constexpr std::size_t kSlopePoints = 32;
constexpr std::size_t kFirstFit = 8;

}  // namespace

void TrendWindow::Reset() {
  *this = TrendWindow(relative_floor_, absolute_floor_);
}

void TrendWindow::Accept(double value) {
  ring_[taken_ % kTrendWindow] = {value, now_};
  ++taken_;
  ++now_;
  if (taken_ >= kFirstFit && taken_ % kRefit == 0) Fit();
}

const TrendWindow::Entry& TrendWindow::Newest(std::size_t i) const {
  return ring_[(taken_ - 1 - i) % kTrendWindow];
}

double TrendWindow::Score(double value) const {
  return scale_ > 0 ? (value - Baseline()) / scale_ : 0;
}

void TrendWindow::Fit() {
  const std::size_t n = std::min(taken_, kTrendWindow);
  std::array<double, kTrendWindow> buffer;
  const auto values = [&](std::size_t from, std::size_t to, double slope) {
    for (std::size_t i = from; i < to; ++i) {
      const Entry& e = Newest(i);
      buffer[i - from] = e.value + slope * static_cast<double>(now_ - e.at);
    }
    return std::span<double>(buffer).first(to - from);
  };
  slope_ = 0;
  if (n >= kSlopePoints) {
    const std::size_t half = n / 2;
    const double newer = MedianInPlace(values(0, half, 0));
    const double older = MedianInPlace(values(half, n, 0));
    const auto middle = [&](std::size_t from, std::size_t to) {
      return static_cast<double>(Newest(from).at + Newest(to - 1).at) / 2;
    };
    slope_ = (newer - older) / (middle(0, half) - middle(half, n));
  }
  level_ = MedianInPlace(values(0, std::min(n, kLevelPoints), slope_));
  const double mad = MadInPlace(values(0, n, slope_), level_);
  scale_ = std::max({mad, relative_floor_ * std::abs(level_), absolute_floor_,
                     std::abs(slope_) * static_cast<double>(kAhead), 1e-12});
  fitted_ = now_;
}

}  // namespace steadyrun
