#pragma once

// All ranks of one step as bytes: a column a metric, the smallest of
//   constant   every rank has these 32 bits (also: all absent)
//   seconds    16 bits a rank, for timings only: a float of 11 bits mantissa,
//              0.95 us to 1 h; off by at most 1/4096 of the value
//   exact      32 bits a rank
// Losses, norms, tokens and everything a user names are exact to the bit,
// NaN payloads included. Little-endian.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/model/step_row.h"

namespace steadyrun {

// Largest relative error of a stored timing.
inline constexpr double kStoredSecondsError = 1.0 / 4096;

// A stored row without its keys. A column's id is a Metric, or kNamedColumn |
// the id of its name in metric_names.
struct PackedStep {
  std::int32_t world_size = 0;
  std::vector<std::uint32_t> columns;
  std::vector<float> values;  // values[c * world_size + rank].
};
inline constexpr std::uint32_t kNamedColumn = 0x8000'0000;

// `columns` parallel to row.metrics. Requires values of the right size.
void EncodeStep(const StepRow& row, const std::vector<std::uint32_t>& columns,
                std::string* out);
absl::StatusOr<PackedStep> DecodeStep(std::string_view bytes);

// The value of one rank in one column, without unpacking the rest; absent if
// the column or the rank is not there.
absl::StatusOr<float> DecodeValue(std::string_view bytes, std::uint32_t column,
                                  std::int32_t rank);

// All ranks of one column, into `values` (which keeps its memory); empty if the
// column is not there.
absl::Status DecodeColumn(std::string_view bytes, std::uint32_t column,
                          std::vector<float>* values);
// Ids of the columns there are.
absl::StatusOr<std::vector<std::uint32_t>> DecodeColumnIds(
    std::string_view bytes);

// Fills the summary fields of `row` from its columns.
void Summarize(StepRow* row);

// Takes every value of `late` that is not absent into `row`, whose world_size
// and columns grow where they must. False if that changes nothing.
bool MergeLateRanks(const StepRow& late, StepRow* row);

}  // namespace steadyrun
