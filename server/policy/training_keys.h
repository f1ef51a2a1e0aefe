#pragma once

// The policy keys of the detectors that judge the training: one table, from
// which the parser reads and the example file is written, so that a key is
// written down once.

#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "server/detect/options.h"

namespace steadyrun {

struct TrainingKey {
  std::string_view table;  // "detect.loss_spike"
  std::string_view key;    // "threshold"
  std::variant<bool*, std::int32_t*, std::int64_t*, double*> value;
  double low = 0;  // Bounds of numbers, both allowed.
  double high = 0;
  std::string_view comment;  // Of the key; the first of a table has the
  std::string_view title;    // table's own line, too.
};

// Pointers into `options`, in the order of the file.
std::vector<TrainingKey> TrainingKeys(DetectOptions* options);

}  // namespace steadyrun
