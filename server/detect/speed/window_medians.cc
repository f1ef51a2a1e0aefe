#include "server/detect/speed/window_medians.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace steadyrun {
namespace {

constexpr std::size_t kWindow = WindowMedians::kWindow;
constexpr std::size_t kLanes = 16;

struct Comparator {
  std::uint8_t low;
  std::uint8_t high;
};

// Batcher's odd-even merge sort of `n` places; calls visit(low, high).
template <typename Visit>
constexpr void ForEachComparator(std::size_t n, Visit visit) {
  std::size_t top = 1;
  while (top < n) top *= 2;
  for (std::size_t p = 1; p < top; p *= 2) {
    for (std::size_t k = p; k >= 1; k /= 2) {
      for (std::size_t j = k % p; j + k < top; j += 2 * k) {
        for (std::size_t i = 0; i < k; ++i) {
          const std::size_t a = i + j;
          const std::size_t b = a + k;
          if (b < n && a / (2 * p) == b / (2 * p)) visit(a, b);
        }
      }
    }
  }
}

constexpr std::size_t CountComparators() {
  std::size_t count = 0;
  ForEachComparator(kWindow, [&](std::size_t, std::size_t) { ++count; });
  return count;
}

constexpr auto kNetwork = [] {
  std::array<Comparator, CountComparators()> network{};
  std::size_t at = 0;
  ForEachComparator(kWindow, [&](std::size_t low, std::size_t high) {
    network[at++] = {static_cast<std::uint8_t>(low),
                     static_cast<std::uint8_t>(high)};
  });
  return network;
}();

// Four floats in one register (SSE, NEON): left to itself, g++ 12 does not make
// vector instructions of the comparisons at -O2, and they take ten times as
// long.
using Four = float __attribute__((vector_size(16)));
constexpr std::size_t kFours = kLanes / 4;
using Lanes = std::array<Four, kFours>;
using Block = std::array<Lanes, kWindow>;

void SortLanes(Block& block) {
  for (const Comparator& c : kNetwork) {
    Lanes& low = block[c.low];
    Lanes& high = block[c.high];
    for (std::size_t i = 0; i < kFours; ++i) {
      const Four a = low[i];
      const Four b = high[i];
      low[i] = a < b ? a : b;
      high[i] = a > b ? a : b;  // So written, one instruction each.
    }
  }
}

}  // namespace

void WindowMedians::Reset(std::size_t ranks) {
  ranks_ = ranks;
  next_ = filled_ = 0;
  values_.assign(ranks * kWindow, 0);
  medians_.assign(ranks, 0);
}

std::span<float> WindowMedians::Next() {
  return std::span<float>(values_).subspan(next_ * ranks_, ranks_);
}

void WindowMedians::Commit() {
  next_ = (next_ + 1) % kWindow;
  filled_ = std::min(filled_ + 1, kWindow);
}

void WindowMedians::Compute(std::size_t part, std::size_t parts) {
  if (filled_ < kWindow) return;
  Block block{};
  const std::size_t blocks = (ranks_ + kLanes - 1) / kLanes;
  for (std::size_t at = blocks * part / parts; at < blocks * (part + 1) / parts;
       ++at) {
    const std::size_t first = at * kLanes;
    const std::size_t lanes = std::min(kLanes, ranks_ - first);
    for (std::size_t slot = 0; slot < kWindow; ++slot) {
      std::memcpy(&block[slot], &values_[slot * ranks_ + first],
                  lanes * sizeof(float));
    }
    SortLanes(block);
    Lanes middle = block[kWindow / 2];
    for (std::size_t i = 0; i < kFours; ++i) {
      middle[i] = (middle[i] + block[kWindow / 2 - 1][i]) / 2;
    }
    std::memcpy(&medians_[first], &middle, lanes * sizeof(float));
  }
}

float WindowMedians::MeanOfLast(std::size_t rank, std::size_t steps) const {
  const std::size_t count = std::min(steps, filled_);
  if (count == 0) return 0;
  float sum = 0;
  for (std::size_t i = 1; i <= count; ++i) {
    const std::size_t slot = (next_ + kWindow - i) % kWindow;
    sum += values_[slot * ranks_ + rank];
  }
  return sum / static_cast<float>(count);
}

}  // namespace steadyrun
