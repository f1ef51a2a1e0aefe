#pragma once

// Corruption that no vote can see: a wrong gradient is averaged into all
// replicas alike. Before the all-reduce it still belongs to one rank.
//
// Model, on the named metric `local_grad_norm`: u = log(norm) less the median
// of the ranks with the same shard (its data-parallel peers); sigma = 1.4826
// MAD of u over all ranks, smoothed over about 20 rows. A hit is |u| >
// sigmas * sigma, or a norm that is not finite; 3 hits in the last 10 rows are
// told. Logarithms because norms spread by factors: the tails on both sides
// are then alike. Of fewer than 4 peers nobody can say who differs.
//
// Blind below about 8 times the spread of healthy norms: with micro-batches
// that spread by 5 %, a fault of less than 40 % of the norm is invisible, as
// is one that leaves the norm alone. 18 bytes a rank.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/fast_median.h"
#include "server/detect/integrity/options.h"
#include "server/model/parallel_layout.h"

namespace steadyrun {

class LocalNormDetector {
 public:
  explicit LocalNormDetector(const IntegrityOptions& options)
      : options_(options) {}

  void Begin(const RankPlaces& places);
  // The column of one row, by rank. Returns the ranks that reached the hits
  // with this row and were not told of.
  std::vector<std::size_t> Observe(std::span<const float> norms);

  // Ranks that were told of and had a hit within the last 10 rows.
  std::size_t Suspected() const { return suspected_; }
  int HitsOf(std::size_t rank) const;
  // The rank's last norm over its peers' median; 1 is usual.
  double RatioOf(std::size_t rank) const;
  double Sigma() const { return sigma_; }
  std::size_t StateBytes() const;

 private:
  bool Compare(std::span<const float> norms);

  IntegrityOptions options_;
  std::vector<std::uint32_t> by_shard_;  // Ranks, shard after shard.
  std::size_t shard_size_ = 0;
  std::vector<float> distance_;      // u, by place in by_shard_.
  std::vector<float> present_;       // Scratch.
  std::vector<std::uint16_t> hits_;  // Bit i: a hit i rows ago. Bit 15: told.
  MedianScratch scratch_;
  std::vector<float> ratio_;  // By rank; of ranks that hit only.
  float sigma_ = 0;
  std::size_t suspected_ = 0;
};

}  // namespace steadyrun
