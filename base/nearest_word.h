#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace steadyrun {

// The candidate with the smallest edit distance to `word`, for "did you mean";
// a swap of two neighbours counts one. Empty if none is near: more than a third
// of the letters differ.
std::string NearestWord(std::string_view word,
                        const std::vector<std::string>& candidates);

}  // namespace steadyrun
