#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "server/model/step_row.h"

namespace steadyrun {

// One step of a run as one number a metric, whatever the number of ranks.
// nullopt: not reported. NaN is a value: it was reported, and it was NaN.
struct CurvePoint {
  Step step = kNoStep;
  std::optional<double> loss;
  std::optional<double> grad_norm;
  std::optional<double> loss_scale;
  std::optional<double> step_seconds;
  std::optional<double> tokens;
  // Named metrics: names[i] has values[i], NaN where not reported. Views: the
  // owner keeps them for the duration of the call.
  std::span<const std::string> names;
  std::span<const double> values;
};

// Reduces the ranks of a row. Loss and gradient norm are the row's summary. A
// named metric is the mean over the ranks that reported it: where each rank
// holds its own samples that is the value of the whole batch, and where only
// one rank logs, that rank's. The point views into the reducer and the row.
class RowReducer {
 public:
  CurvePoint Reduce(const StepRow& row);

 private:
  std::vector<double> values_;
};

}  // namespace steadyrun
