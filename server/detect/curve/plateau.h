#pragma once

// The loss has stopped falling.
//
// Model: `points` (4000) losses in 40 blocks, each the mean of its points,
// winsorised against the block before (3 scales, so that spikes do not count).
// A plateau: Mann-Kendall over the 40 blocks is above -1 (no sign of a fall),
// and the newer half is not lower than the older by 0.1 %. A loss that falls by
// a hundredth of its noise a block shows z < -5, so a healthy run, however
// slow, is none. For information: an end of training, a learning rate at zero
// and a bad minimum look alike. Gone when the newest blocks fall again.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "server/detect/curve/curve_report.h"
#include "server/detect/curve/options.h"

namespace steadyrun {

class Plateau {
 public:
  explicit Plateau(const PlateauOptions& options) : options_(options) {}

  void Begin() { *this = Plateau(options_); }
  // `trend`, `scale`: where the loss is expected and how much it scatters; a
  // scale of 0 means unknown.
  void Observe(const CurveContext& context, std::optional<double> loss,
               double trend, double scale);

 private:
  static constexpr std::size_t kBlocks = 40;

  void Judge(const CurveContext& context);

  PlateauOptions options_;
  double sum_ = 0;
  std::int64_t in_block_ = 0;
  Step block_start_;
  std::array<double, kBlocks> ring_{};
  std::array<Step, kBlocks> starts_{};
  std::size_t blocks_ = 0;
  bool is_open_ = false;
};

}  // namespace steadyrun
