#pragma once

// Numbers as training logs and spreadsheets spell them.

#include <optional>
#include <string_view>

namespace steadyrun {

// Blanks, tabs and carriage returns off both ends.
std::string_view Trim(std::string_view text);

// "2.5", "+1e-3", "nan", "-Infinity", "np.float64(0.5)", "tensor(1.)",
// "array([0.5])" and "[10.5]". Absent if the text is no number, or goes on
// after it. Out of range is infinite or zero.
std::optional<double> ParseNumber(std::string_view text);

// A cell that says there is no value: "", "-", "null", "None", "N/A".
bool IsAbsentWord(std::string_view text);

}  // namespace steadyrun
