#include "server/detect/speed/cusum_bank.h"

#include <algorithm>

namespace steadyrun {

void CusumBank::Reset(std::size_t ranks) {
  sum_.assign(ranks, 0);
  onset_.assign(ranks, kNoStep);
  is_raised_.assign(ranks, 0);
}

void CusumBank::Add(std::size_t first, std::span<const float> x,
                    const CusumLimits& limits, Step step,
                    std::vector<std::size_t>* raised,
                    std::vector<std::size_t>* calmed) {
  const float most = 2 * limits.alarm;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t r = first + i;
    const float before = sum_[r];
    const float gain =
        std::clamp(x[i], -limits.clip, limits.clip) - limits.slack;
    const float sum = std::clamp(before + gain, 0.0f, most);
    sum_[r] = sum;
    if (before == 0) onset_[r] = step;
    // Rarely true, and then of the same few ranks.
    if (sum <= limits.alarm && is_raised_[r] == 0) continue;
    if (is_raised_[r] == 0) {
      is_raised_[r] = 1;
      raised->push_back(r);
    } else if (sum == 0) {
      is_raised_[r] = 0;
      calmed->push_back(r);
    }
  }
}

std::size_t CusumBank::StateBytes() const {
  return sum_.capacity() * sizeof(float) + onset_.capacity() * sizeof(Step) +
         is_raised_.capacity();
}

}  // namespace steadyrun
