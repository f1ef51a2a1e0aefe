#pragma once

// A robust, trailing picture of one series: where it should be now, and how
// much it scatters.
//
// Model: y = level + slope * i + noise over the last kTrendWindow accepted
// points, i counting points. The slope is the difference of the medians of
// the two halves, the level the median of the newest kLevelPoints carried
// along that slope, the scale 1.4826 * MAD of the residuals. Medians, so that
// a quarter of bad points changes little; a level of its own, because on the
// bent curve of an early training a straight line through the whole window
// runs below the loss at its newest end, and every healthy step would look
// high. A flat median, as published rules use (OLMo-core's mean + 6 sigma of
// the last 128), lies above a falling loss by half a window's fall and misses
// the spikes there.
//
// Points that are judged abnormal are not to be accepted; the caller decides.
// 1 KiB, O(1) a point: the fit is refreshed every kRefit points.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace steadyrun {

// 128: with 64, entropy and KL of healthy PPO runs gave false alarms.
inline constexpr std::size_t kTrendWindow = 128;
// The newest quarter: lags a bend by 16 points, and its median is known to
// 0.22 sigma.
inline constexpr std::size_t kLevelPoints = 32;

class TrendWindow {
 public:
  // `relative_floor`: the scale is at least this share of |level|, so that a
  // constant series does not make the last digit an anomaly. 1e-3 for a loss.
  explicit TrendWindow(double relative_floor = 1e-3, double absolute_floor = 0)
      : relative_floor_(relative_floor), absolute_floor_(absolute_floor) {}

  // Forgets everything: a new attempt.
  void Reset();

  // One point of time passes; the value is taken into the window. Finite
  // values only: NaN never enters a window.
  void Accept(double value);
  // One point of time passes without a value: absent, or abnormal.
  void Skip() { ++now_; }

  // Enough points for a verdict.
  bool IsReady(std::size_t points) const { return taken_ >= points; }
  std::int64_t Taken() const { return static_cast<std::int64_t>(taken_); }

  // Of the point to come next. Before the first fit: 0, and infinite scale.
  double Baseline() const {
    const std::int64_t ahead = std::min(now_ - fitted_, kAhead);
    return level_ + slope_ * static_cast<double>(ahead);
  }
  double Scale() const { return scale_; }
  double Slope() const { return slope_; }  // A point.
  // How many scales `value` lies above the baseline; 0 before the first fit.
  double Score(double value) const;

 private:
  static constexpr std::size_t kRefit = 8;
  // A slope is carried no further than this beyond the newest fit: while
  // points are rejected, a steep early slope would run away from the loss.
  static constexpr std::int64_t kAhead = 8;

  struct Entry {
    double value = 0;
    std::int64_t at = 0;
  };

  void Fit();
  const Entry& Newest(std::size_t i) const;  // 0: the newest.

  double relative_floor_;
  double absolute_floor_;
  std::array<Entry, kTrendWindow> ring_{};
  std::size_t taken_ = 0;  // All ever accepted.
  std::int64_t now_ = 0;   // Points that have passed.
  std::int64_t fitted_ = 0;
  double level_ = 0;
  double slope_ = 0;
  double scale_ = 0;  // 0: not fitted.
};

}  // namespace steadyrun
