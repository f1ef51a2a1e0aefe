#pragma once

// How the ranks of a run share the model: which of them do the same work, and
// which hold the same parameters.
//
// Megatron's default order (tp-ep-dp-pp): the tensor index runs fastest, then
// the data-parallel one, whose lowest part is the expert index, then the
// pipeline stage:
//   rank = tensor + T * (data + D * stage),   data = expert + E * copy
// with D = world / (T * P). So a stage is a range of neighbouring ranks.

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/ids.h"

namespace steadyrun {

struct ParallelLayout {
  std::int32_t tensor = 1;
  std::int32_t pipeline = 1;
  std::int32_t expert = 1;  // Divides the data-parallel size.
  friend bool operator==(const ParallelLayout&,
                         const ParallelLayout&) = default;
};

// A layout on a world of ranks. A layout that does not fit the world is not
// guessed at: all ranks count as alike, and Note() says why.
class RankPlaces {
 public:
  RankPlaces() = default;
  RankPlaces(const ParallelLayout& layout, std::size_t world_size);

  std::size_t World() const { return world_; }
  std::size_t Stages() const { return stages_; }
  std::size_t StageSize() const { return stage_size_; }
  // Ranks that hold the same parameters: equal (stage, expert, tensor).
  std::size_t Shards() const { return stages_ * experts_ * tensors_; }
  std::size_t ReplicasPerShard() const {
    return stage_size_ / (experts_ * tensors_);
  }
  // Data-parallel replicas: each holds the whole model once.
  std::size_t Replicas() const { return stage_size_ / tensors_; }

  // `rank` is in [0, World()).
  std::size_t StageOf(std::size_t rank) const { return rank / stage_size_; }
  std::size_t TensorOf(std::size_t rank) const { return rank % tensors_; }
  std::size_t ReplicaOf(std::size_t rank) const {
    return rank % stage_size_ / tensors_;
  }
  std::size_t ExpertOf(std::size_t rank) const {
    return ReplicaOf(rank) % experts_;
  }
  // The tensor-parallel group: equal (stage, replica).
  std::size_t TensorGroupOf(std::size_t rank) const { return rank / tensors_; }
  std::size_t TensorSize() const { return tensors_; }
  std::size_t ShardOf(std::size_t rank) const {
    return (StageOf(rank) * experts_ + ExpertOf(rank)) * tensors_ +
           TensorOf(rank);
  }

  // Why the layout was not taken; empty when it was.
  const std::string& Note() const { return note_; }

 private:
  std::size_t world_ = 0;
  std::size_t tensors_ = 1;
  std::size_t stages_ = 1;
  std::size_t experts_ = 1;
  std::size_t stage_size_ = 1;
  std::string note_;
};

}  // namespace steadyrun
