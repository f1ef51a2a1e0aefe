#include "server/detect/speed/speed_watch.h"

namespace steadyrun {

SpeedWatch::SpeedWatch(const SpeedOptions& options,
                       const ParallelLayout& layout)
    : layout_(layout),
      straggler_(options.straggler),
      slowdown_(options.slowdown),
      data_(options.data),
      save_(options.save),
      generation_(options.generation) {}

void SpeedWatch::Begin(const WatchedAttempt& attempt, Now) {
  world_ = WatchedWorld(attempt, layout_);
  save_.Begin();
  Restart();
}

void SpeedWatch::Restart() {
  straggler_.Begin(world_);
  slowdown_.Begin(world_);
  data_.Begin(world_);
  generation_.Begin();
  last_ = kNoStep;
  rows_ = 0;
}

bool SpeedWatch::TakeInOrder(Step step) {
  if (step <= last_) {
    if (last_.value - step.value <= kLateSteps) return false;
    Restart();
  }
  last_ = step;
  return true;
}

void SpeedWatch::ObserveRow(const StepRow& row, Now now, Verdicts* verdicts) {
  if (row.run != world_.attempt.run || row.attempt != world_.attempt.attempt ||
      row.world_size <= 0 ||
      static_cast<std::size_t>(row.world_size) != world_.Size()) {
    return;
  }
  if (!TakeInOrder(row.step)) return;
  generation_.Observe(row, world_, now, verdicts);
  if (rows_++ < kWarmUpRows) return;
  straggler_.Observe(row, world_, now, verdicts);
  data_.Observe(row, world_, now, verdicts);
  SlowdownDetector::Known known;
  known.straggler_cost = straggler_.CostNow();
  known.is_data_stall = data_.IsStalled();
  known.last_slow_rollout = generation_.LastSlow();
  if (straggler_.IsJudging()) known.stage_seconds = straggler_.StageSeconds();
  slowdown_.Observe(row, known, world_, now, verdicts);
}

void SpeedWatch::ObserveSave(Step step, double seconds, Now now,
                             Verdicts* verdicts) {
  save_.Observe(step, seconds, world_, now, verdicts);
}

std::size_t SpeedWatch::StateBytes() const {
  std::size_t names = world_.attempt.rank_nodes.capacity() * sizeof(NodeId);
  for (const NodeId& node : world_.attempt.rank_nodes) {
    if (node.capacity() > NodeId().capacity()) names += node.capacity() + 1;
  }
  return names +
         (world_.node_of.capacity() + world_.node_size.capacity()) *
             sizeof(std::uint32_t) +
         straggler_.StateBytes() + data_.StateBytes();
}

}  // namespace steadyrun
