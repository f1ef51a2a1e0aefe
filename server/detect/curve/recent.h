#pragma once

// Small memories of the newest points.

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/robust_stats.h"

namespace steadyrun {

// The newest N values.
template <std::size_t N>
class Recent {
 public:
  void Add(double value) { ring_[taken_++ % N] = value; }
  std::size_t Size() const { return std::min(taken_, N); }
  // 0: the newest. `age` < Size().
  double At(std::size_t age) const { return ring_[(taken_ - 1 - age) % N]; }
  // Median of `count` values, the newest of them `age` old. Fewer where there
  // are fewer; 0 for none.
  double MedianOf(std::size_t age, std::size_t count) const {
    std::array<double, N> copy;
    std::size_t n = 0;
    for (; n < count && age + n < Size(); ++n) copy[n] = At(age + n);
    return MedianInPlace(std::span<double>(copy).first(n));
  }
  double Newest(std::size_t count) const { return MedianOf(0, count); }
  double Oldest(std::size_t count) const {
    return MedianOf(Size() - std::min(Size(), count), count);
  }
  // How much neighbouring values differ, as the deviation of one of them.
  double Noise() const {
    if (Size() < 3) return 0;
    std::array<double, N> differences;
    for (std::size_t i = 0; i + 1 < Size(); ++i) {
      differences[i] = At(i) - At(i + 1);
    }
    constexpr double kOfTwo = 0.7071067811865476;  // A difference has two.
    return kOfTwo *
           MadInPlace(std::span<double>(differences).first(Size() - 1), 0);
  }

 private:
  std::array<double, N> ring_{};
  std::size_t taken_ = 0;
};

// Which of the newest points were high.
class Votes {
 public:
  void Add(bool is_high) { bits_ = bits_ << 1 | (is_high ? 1 : 0); }
  // How many of the newest `n` (at most 64) were.
  int Of(unsigned n) const { return std::popcount(bits_ & Mask(n)); }
  bool Newest() const { return (bits_ & 1) != 0; }

 private:
  static std::uint64_t Mask(unsigned n) {
    return n >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
  }

  std::uint64_t bits_ = 0;
};

}  // namespace steadyrun
