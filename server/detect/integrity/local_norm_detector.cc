#include "server/detect/integrity/local_norm_detector.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "proto/messages/messages.h"

namespace steadyrun {
namespace {

constexpr std::size_t kFewestPeers = 4;
constexpr float kSmoothing = 0.05f;
// Replicas with equal data have equal norms; a spread of 0 would make any
// rounding a finding.
constexpr float kLeastSigma = 1e-3f;
constexpr std::uint16_t kLastTen = (1U << 10) - 1;
constexpr std::uint16_t kTold = 1U << 15;
constexpr float kInfinite = std::numeric_limits<float>::infinity();
constexpr float kNotReported = std::numeric_limits<float>::quiet_NaN();

// log(norm); infinite for what is not a number, NaN when not reported.
float LogNorm(float norm) {
  if (IsAbsent(norm)) return kNotReported;
  if (!std::isfinite(norm)) return kInfinite;
  return std::log(std::max(norm, std::numeric_limits<float>::min()));
}

}  // namespace

void LocalNormDetector::Begin(const RankPlaces& places) {
  const std::size_t world = places.World();
  by_shard_.assign(world, 0);
  shard_size_ = world == 0 ? 0 : places.ReplicasPerShard();
  std::vector<std::uint32_t> filled(world == 0 ? 0 : places.Shards(), 0);
  for (std::size_t r = 0; r < world; ++r) {
    const std::size_t shard = places.ShardOf(r);
    by_shard_[shard * shard_size_ + filled[shard]++] =
        static_cast<std::uint32_t>(r);
  }
  distance_.assign(world, 0);
  ratio_.assign(world, 1);
  hits_.assign(world, 0);
  sigma_ = 0;
  suspected_ = 0;
}

// Fills distance_; false when no shard has enough peers.
bool LocalNormDetector::Compare(std::span<const float> norms) {
  bool is_any = false;
  for (std::size_t first = 0; first < distance_.size(); first += shard_size_) {
    const auto part = std::span(distance_).subspan(first, shard_size_);
    present_.clear();
    for (std::size_t i = 0; i < part.size(); ++i) {
      part[i] = LogNorm(norms[by_shard_[first + i]]);
      if (std::isfinite(part[i])) present_.push_back(part[i]);
    }
    if (present_.size() < kFewestPeers || present_.size() * 2 < shard_size_) {
      std::ranges::fill(part, kNotReported);
      continue;
    }
    is_any = true;
    const float median = FastMedian(present_, &scratch_);
    for (float& value : part) value -= median;
  }
  return is_any;
}

std::vector<std::size_t> LocalNormDetector::Observe(
    std::span<const float> norms) {
  std::vector<std::size_t> found;
  if (norms.size() != distance_.size() || !Compare(norms)) return found;
  present_.clear();
  for (const float value : distance_) {
    if (std::isfinite(value)) present_.push_back(value);
  }
  const float sigma = std::max(kLeastSigma, FastMad(present_, 0, &scratch_));
  sigma_ = sigma_ == 0 ? sigma : sigma_ + kSmoothing * (sigma - sigma_);
  const float limit = static_cast<float>(options_.local_norm_sigmas) * sigma_;
  suspected_ = 0;
  for (std::size_t i = 0; i < distance_.size(); ++i) {
    const float u = distance_[i];
    if (std::isnan(u)) continue;  // Not asked this time.
    const std::size_t r = by_shard_[i];
    const bool is_hit = std::abs(u) > limit;
    std::uint16_t bits = static_cast<std::uint16_t>(
        ((hits_[r] << 1U) & kLastTen) | (is_hit ? 1U : 0U));
    if (is_hit) ratio_[r] = std::exp(u);
    if ((hits_[r] & kTold) != 0 && bits != 0) {
      bits |= kTold;
      ++suspected_;
    } else if (is_hit && std::popcount(bits) >= options_.local_norm_hits) {
      bits |= kTold;
      ++suspected_;
      found.push_back(r);
    }
    hits_[r] = bits;
  }
  std::ranges::sort(found);
  return found;
}

int LocalNormDetector::HitsOf(std::size_t rank) const {
  return std::popcount(static_cast<std::uint16_t>(hits_[rank] & kLastTen));
}

double LocalNormDetector::RatioOf(std::size_t rank) const {
  return ratio_[rank];
}

std::size_t LocalNormDetector::StateBytes() const {
  return by_shard_.capacity() * sizeof(std::uint32_t) +
         hits_.capacity() * sizeof(std::uint16_t) +
         (distance_.capacity() + ratio_.capacity() + present_.capacity() +
          scratch_.sample.capacity() + scratch_.kept.capacity() +
          scratch_.deviations.capacity()) *
             sizeof(float);
}

}  // namespace steadyrun
