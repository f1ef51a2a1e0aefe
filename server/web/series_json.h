#pragma once

#include <string>

#include "steadyrun/v1/operator.pb.h"

namespace steadyrun {

// Columns as compact JSON for drawing: numbers to seven digits (more than any
// screen has), null where a value is not finite. Names are those of the
// messages. One line.
std::string CurveJson(const v1::StepSeries& series);
std::string MetricJson(const v1::MetricSeries& series);

}  // namespace steadyrun
