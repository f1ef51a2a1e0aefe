#include "base/fast_median.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>

namespace steadyrun {
namespace {

float SlowMedian(std::vector<float> values) {
  std::ranges::sort(values);
  const std::size_t n = values.size();
  return static_cast<float>(
      (static_cast<double>(values[(n - 1) / 2]) + values[n / 2]) / 2);
}

TEST(FastMedianTest, IsExactForEverySizeAndShape) {
  std::mt19937_64 random(7);
  std::normal_distribution<float> normal(1, 0.01f);
  const std::function<float(std::size_t)> shapes[] = {
      [&](std::size_t) { return normal(random); },
      [&](std::size_t) { return std::exp(100 * (normal(random) - 1)); },
      [&](std::size_t) { return 3.0f; },
      [&](std::size_t i) { return static_cast<float>(i); },
      [&](std::size_t i) { return -static_cast<float>(i); },
      [&](std::size_t i) { return i % 2 == 0 ? 1.0f : 2.0f; },
      // Against a sample at regular places.
      [&](std::size_t i) { return i % 97 == 0 ? 1000.0f : normal(random); },
      [&](std::size_t i) { return i % 4 == 0 ? -1.0f : normal(random); },
  };
  MedianScratch scratch;
  for (const auto& shape : shapes) {
    for (const std::size_t n :
         {1, 2, 3, 20, 999, 4095, 4096, 4097, 10000, 100001}) {
      std::vector<float> values(n);
      for (std::size_t i = 0; i < n; ++i) values[i] = shape(i);
      const float median = FastMedian(values, &scratch);
      ASSERT_EQ(median, SlowMedian(values)) << n;
      std::vector<float> deviations(n);
      for (std::size_t i = 0; i < n; ++i) {
        deviations[i] = std::abs(values[i] - median);
      }
      ASSERT_EQ(FastMad(values, median, &scratch),
                1.4826f * SlowMedian(deviations))
          << n;
    }
  }
}

TEST(FastMedianTest, SelectsFromFewOfMany) {
  std::mt19937_64 random(8);
  std::normal_distribution<float> normal(1, 0.01f);
  MedianScratch scratch;
  int missed = 0;
  for (int i = 0; i < 200; ++i) {
    std::vector<float> values(20000);
    for (float& value : values) value = normal(random);
    FastMedian(values, &scratch);
    missed += scratch.kept.size() == values.size() ? 1 : 0;
    if (scratch.kept.size() < values.size()) {
      ASSERT_LT(scratch.kept.size(), values.size() / 5);
    }
  }
  EXPECT_LE(missed, 5);  // Three standard deviations: 0.6 of 200.
}

TEST(FastMedianTest, InfinitiesAndNothing) {
  MedianScratch scratch;
  EXPECT_EQ(FastMedian({}, &scratch), 0);
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const std::vector<float> values = {kInf, 1, -kInf, kInf, 2};
  EXPECT_EQ(FastMedian(values, &scratch), 2);
  const std::vector<float> large(4, std::numeric_limits<float>::max());
  EXPECT_EQ(FastMedian(large, &scratch), large[0]);
}

}  // namespace
}  // namespace steadyrun
