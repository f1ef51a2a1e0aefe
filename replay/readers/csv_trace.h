#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "replay/trace.h"

namespace steadyrun::replay {

// A trace from CSV with a header that holds `step` and any of loss, grad_norm,
// step_time (seconds), tokens, compute_seconds, learning_rate, loss_scale,
// data_seconds; further columns of numbers are named metrics, columns of text
// are left out (and noted). `rank` makes it a row a rank, joined by step;
// `node` and `role` say where and what a rank is; `attempt` numbers the
// attempts, which are otherwise told from steps that go back. An empty cell is
// no value; nan and inf are values. A last line that is cut off is left out.
//
// INVALID_ARGUMENT as "FILE:LINE:COLUMN: what is wrong".
absl::StatusOr<Trace> ReadCsvTrace(std::string_view text,
                                   const std::string& file);

// The same as CSV that ReadCsvTrace reads: what `steadyrun parse` prints.
std::string WriteCsvTrace(const Trace& trace);

}  // namespace steadyrun::replay
