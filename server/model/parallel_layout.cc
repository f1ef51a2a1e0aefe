#include "server/model/parallel_layout.h"

#include <algorithm>
#include <string>

namespace steadyrun {

RankPlaces::RankPlaces(const ParallelLayout& layout, std::size_t world_size)
    : world_(world_size), stage_size_(std::max<std::size_t>(world_size, 1)) {
  const bool is_positive =
      layout.tensor >= 1 && layout.pipeline >= 1 && layout.expert >= 1;
  bool is_fit = is_positive && world_size > 0;
  if (is_fit) {
    const auto tensor = static_cast<std::size_t>(layout.tensor);
    const auto pipeline = static_cast<std::size_t>(layout.pipeline);
    const auto expert = static_cast<std::size_t>(layout.expert);
    // Each divided by alone: the product of three large ones may overflow.
    is_fit = world_size % tensor == 0 && world_size / tensor % pipeline == 0 &&
             world_size / tensor / pipeline % expert == 0;
    if (is_fit) {
      tensors_ = tensor;
      stages_ = pipeline;
      experts_ = expert;
      stage_size_ = world_size / pipeline;
    }
  }
  if (!is_fit && world_size > 0) {
    note_ = "the layout (tensor " + std::to_string(layout.tensor) +
            ", pipeline " + std::to_string(layout.pipeline) + ", expert " +
            std::to_string(layout.expert) + ") does not divide the world of " +
            std::to_string(world_size) +
            " ranks: all ranks were compared with all";
  }
}

}  // namespace steadyrun
