#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace steadyrun {

// The candidate with the smallest edit distance to `word`, for "did you mean";
// empty if none is near (distance above 2, or a third of the word's length).
std::string NearestWord(std::string_view word,
                        const std::vector<std::string>& candidates);

}  // namespace steadyrun
