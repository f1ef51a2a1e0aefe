#pragma once

// The median of each rank's last 20 values, for all ranks at once.
//
// A median of 20 steps is deaf to pauses (garbage collection, a log that is
// flushed) as long as they are fewer than half of the steps. Sorted by a
// network (Batcher's odd-even merge sort) over 16 ranks side by side, in
// vector instructions: 17 ns a rank, against 250 for selecting one by one
// (speed_bench cost). 84 bytes a rank.

#include <array>
#include <cstddef>
#include <span>
#include <vector>

namespace steadyrun {

class WindowMedians {
 public:
  static constexpr std::size_t kWindow = 20;

  void Reset(std::size_t ranks);

  // Where every rank's value of the next step is to be written. It counts, and
  // takes the place of the oldest, after Commit().
  std::span<float> Next();
  void Commit();
  std::size_t Filled() const { return filled_; }

  // Recomputes the medians of the part-th of so many parts of the ranks; only
  // when the window is full. In parts, so that no step pays for all.
  void Compute(std::size_t part, std::size_t parts);
  // As of the last Compute() of each rank's part; all 0 before.
  std::span<const float> Medians() const { return medians_; }
  // Mean of the rank's newest `steps` values, at most what there is.
  float MeanOfLast(std::size_t rank, std::size_t steps) const;

  std::size_t StateBytes() const {
    return (values_.capacity() + medians_.capacity()) * sizeof(float);
  }

 private:
  std::size_t ranks_ = 0;
  std::size_t next_ = 0;
  std::size_t filled_ = 0;
  std::vector<float> values_;  // values_[slot * ranks_ + rank].
  std::vector<float> medians_;
};

}  // namespace steadyrun
