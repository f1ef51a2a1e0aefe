#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace steadyrun {

// Rolling quantiles of step times: a histogram with logarithmic bins, 12 % a
// bin from 1 ms to about 9 h, over the last kWindow steps. Exact counts, O(1)
// to add (one bin up, one down), O(bins) to ask, 1.3 KiB. The answer is the
// upper edge of the bin, so it errs by at most 12 %, and upwards, which for a
// deadline is the safe side. Chosen over P2 and t-digest, which cannot forget.
class StepTimeSketch {
 public:
  static constexpr std::size_t kWindow = 500;
  static constexpr std::size_t kBins = 154;

  // Ignores what is not finite and positive.
  void Add(double seconds);
  // The q-quantile (0..1) in seconds; 0 when empty.
  double Quantile(double q) const;
  std::size_t Size() const { return size_; }
  void Clear();

 private:
  std::array<std::uint8_t, kWindow> window_{};  // Bin of each step, a ring.
  std::array<std::uint16_t, kBins> counts_{};
  std::size_t next_ = 0;
  std::size_t size_ = 0;
};

}  // namespace steadyrun
