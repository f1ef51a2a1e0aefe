#pragma once

#include <string>

#include "steadyrun/v1/operator.pb.h"

namespace steadyrun::cli {

// One run on a screen: the verdict first, then figures.
std::string RenderRun(const v1::RunView& run);
// A row a run, worst first: open incidents, then not running, then the rest.
std::string RenderRunTable(const v1::ListRunsReply& runs);
// "step 431/1500  attempt 3  loss 2.41  31 ms/step  2 incidents  running"
std::string RenderProgressLine(const v1::RunView& run);
bool IsEnded(const v1::RunView& run);
// What happened, and what each of two policies would have done.
std::string RenderRunBacktest(const v1::BacktestReply& reply);

}  // namespace steadyrun::cli
