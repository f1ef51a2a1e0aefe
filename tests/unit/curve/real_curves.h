#pragma once

// Reads the shared real curves and their labels. For the tests only: lines of
// numbers, quotes only in the labels' last column.

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "server/detect/curve/curve_point.h"

namespace steadyrun {

struct RealCurve {
  std::string name;
  std::vector<std::string> names;  // Of the named metrics.
  std::vector<std::int64_t> steps;
  std::vector<std::vector<double>> values;  // NaN: empty cell.
  std::size_t loss = kNone;                 // Columns of `values`.
  std::size_t grad_norm = kNone;
  std::size_t loss_scale = kNone;
  static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

  CurvePoint Point(std::size_t row) const;
};

struct CurveLabel {
  std::int64_t start = 0;
  std::int64_t end = 0;
  std::string kind;
};

// $STEADYRUN_DATA/curves, or <repository>/../shared/data/curves; empty where
// there is none.
std::filesystem::path RealCurvesFolder();
// Names of all files with a column "step" and labels beside them.
std::vector<std::string> RealCurveNames(const std::filesystem::path& folder);
RealCurve ReadCurve(const std::filesystem::path& folder,
                    const std::string& name);
std::vector<CurveLabel> ReadLabels(const std::filesystem::path& folder,
                                   const std::string& name);

}  // namespace steadyrun
