#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "proto/messages/messages.h"

namespace steadyrun {

// One step of one attempt with all its ranks, joined from the nodes' blocks.
// Stored as one packed row. Column layout as in StepBlock; ranks are dense:
// index r is rank r, with AbsentValue() where a rank did not report.
struct StepRow {
  RunId run;
  AttemptId attempt;
  Step step;
  std::int32_t world_size = 0;
  std::vector<std::uint32_t> metrics;
  std::vector<std::string> names;
  std::vector<float> values;  // values[m * world_size + rank].
  WallTime ended;             // Server's clock when the row was closed.
  bool is_complete = true;    // False: closed by its deadline.

  // What curves are drawn from, without unpacking the ranks. NaN counts.
  double loss = 0;          // Mean over ranks that reported; NaN if none.
  double grad_norm = 0;     // Max over ranks; NaN if none.
  double step_seconds = 0;  // Median over ranks.
  double step_seconds_max = 0;
  double tokens = 0;  // Sum over ranks.
  std::int32_t slowest_rank = -1;
};

}  // namespace steadyrun
