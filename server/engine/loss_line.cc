#include "server/engine/loss_line.h"

#include "server/model/row_columns.h"

namespace steadyrun {

void LossLine::Add(const StepRow& row) {
  if (RowColumn(row, Metric::kLoss).empty()) return;
  if (row.attempt != attempt_) {
    attempt_ = row.attempt;
    GiveUpFrom(row.step);
  } else if (row.step <= last_) {
    return;  // Rows may close out of order.
  }
  last_ = row.step;
  if (points_.empty() || points_.back().steps >= stride_) {
    MakeRoom();
    points_.push_back({row.step, 0, 0});
  }
  points_.back().sum += row.loss;
  ++points_.back().steps;
}

void LossLine::GiveUpFrom(Step step) {
  while (!points_.empty() && points_.back().first >= step) points_.pop_back();
}

void LossLine::MakeRoom() {
  if (points_.size() < kPoints) return;
  if (stride_ >= kMaxStride) {
    points_.erase(points_.begin());
    return;
  }
  std::vector<Point> joined;
  for (std::size_t i = 0; i + 1 < points_.size(); i += 2) {
    joined.push_back({points_[i].first, points_[i].sum + points_[i + 1].sum,
                      points_[i].steps + points_[i + 1].steps});
  }
  points_ = std::move(joined);
  stride_ *= 2;
}

std::vector<float> LossLine::Points() const {
  std::vector<float> means;
  means.reserve(points_.size());
  for (const Point& point : points_) {
    means.push_back(
        static_cast<float>(point.sum / static_cast<double>(point.steps)));
  }
  return means;
}

}  // namespace steadyrun
