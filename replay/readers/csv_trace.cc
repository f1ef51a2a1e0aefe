#include "replay/readers/csv_trace.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/nearest_word.h"
#include "base/number_text.h"
#include "base/status_macros.h"
#include "replay/csv.h"

namespace steadyrun::replay {
namespace {

enum class Role { kStep, kRank, kAttempt, kNode, kRole, kMetric, kIgnored };

struct Column {
  std::string name;
  Role role = Role::kMetric;
  std::uint32_t number = 0;
  bool is_standard = false;
  std::int64_t values = 0;
  std::int64_t texts = 0;  // Cells that are no number.
};

class CsvTraceReader {
 public:
  CsvTraceReader(std::string_view text, const std::string& file)
      : csv_(text, file), builder_("csv") {}

  absl::StatusOr<Trace> Read();

 private:
  absl::Status ReadHeader();
  absl::Status ReadRecord();
  absl::Status TakeCell(const CsvField& field, Column* column);
  absl::StatusOr<std::int64_t> WholeNumber(const CsvField& field,
                                           const Column& column) const;
  void NoteColumns();

  CsvReader csv_;
  TraceBuilder builder_;
  std::vector<Column> columns_;
  TraceSample sample_;
  std::string node_;
  std::string role_;
  bool has_step_ = false;
};

Role RoleOf(std::string_view name) {
  if (name == "step") return Role::kStep;
  if (name == "rank") return Role::kRank;
  if (name == "attempt") return Role::kAttempt;
  if (name == "node") return Role::kNode;
  if (name == "role") return Role::kRole;
  return Role::kMetric;
}

absl::Status CsvTraceReader::ReadHeader() {
  if (!csv_.Next()) {
    RETURN_IF_ERROR(csv_.Status());
    return csv_.Error("the file is empty; expected a header with 'step'");
  }
  std::vector<std::string> names;
  std::set<std::uint32_t> taken;
  bool has_step = false;
  for (const CsvField& field : csv_.Fields()) {
    Column column{.name = std::string(Trim(field.text))};
    names.push_back(column.name);
    column.role = RoleOf(column.name);
    has_step = has_step || column.role == Role::kStep;
    if (column.role == Role::kMetric) {
      auto number = builder_.Column(column.name);
      column.is_standard = number && *number < kFirstNamedMetric;
      // Several spellings of one metric: the first counts as it.
      if (column.is_standard && !taken.insert(*number).second) {
        number = builder_.NamedColumn(column.name);
        column.is_standard = false;
      }
      if (column.name.empty() || !number) column.role = Role::kIgnored;
      column.number = number.value_or(0);
    }
    columns_.push_back(std::move(column));
  }
  if (has_step) return absl::OkStatus();
  const std::string nearest = NearestWord("step", names);
  return csv_.Error(fmt::format(
      "no column 'step'{}; found {}",
      nearest.empty() ? "" : fmt::format(" (is '{}' meant?)", nearest),
      fmt::join(
          names.begin(),
          names.begin() + std::min<std::ptrdiff_t>(
                              12, static_cast<std::ptrdiff_t>(names.size())),
          ", ")));
}

absl::StatusOr<std::int64_t> CsvTraceReader::WholeNumber(
    const CsvField& field, const Column& column) const {
  const auto value = ParseNumber(field.text);
  // Beyond 2^53 a double is no count any more.
  if (!value || !(std::abs(*value) < 9e15) || std::floor(*value) != *value) {
    return csv_.ErrorAt(field,
                        fmt::format("'{}': expected a whole number, found '{}'",
                                    column.name, field.text.substr(0, 40)));
  }
  return static_cast<std::int64_t>(*value);
}

absl::Status CsvTraceReader::TakeCell(const CsvField& field, Column* column) {
  switch (column->role) {
    case Role::kIgnored:
      return absl::OkStatus();
    case Role::kNode:
      node_ = field.text;
      return absl::OkStatus();
    case Role::kRole:
      role_ = field.text;
      return absl::OkStatus();
    case Role::kStep: {
      ASSIGN_OR_RETURN(sample_.step, WholeNumber(field, *column));
      has_step_ = true;
      return absl::OkStatus();
    }
    case Role::kRank: {
      ASSIGN_OR_RETURN(const std::int64_t rank, WholeNumber(field, *column));
      sample_.rank = static_cast<std::int32_t>(
          std::clamp<std::int64_t>(rank, -1, TraceBuilder::kMaxRanks));
      return absl::OkStatus();
    }
    case Role::kAttempt: {
      ASSIGN_OR_RETURN(sample_.attempt, WholeNumber(field, *column));
      return absl::OkStatus();
    }
    case Role::kMetric:
      break;
  }
  if (IsAbsentWord(field.text)) return absl::OkStatus();
  if (const auto value = ParseNumber(field.text)) {
    sample_.values.emplace_back(column->number, *value);
    ++column->values;
  } else if (column->is_standard) {
    return csv_.ErrorAt(field,
                        fmt::format("'{}': expected a number, nan, inf "
                                    "or nothing, found '{}'",
                                    column->name, field.text.substr(0, 40)));
  } else {
    ++column->texts;
  }
  return absl::OkStatus();
}

absl::Status CsvTraceReader::ReadRecord() {
  const auto& fields = csv_.Fields();
  sample_ = {};
  node_.clear();
  role_.clear();
  has_step_ = false;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    RETURN_IF_ERROR(TakeCell(fields[i], &columns_[i]));
  }
  if (const absl::Status added = builder_.Add(sample_); !added.ok()) {
    return csv_.Error(std::string(added.message()));
  }
  if (!node_.empty() || !role_.empty()) {
    builder_.SetPlace(sample_.rank, node_, role_);
  }
  return absl::OkStatus();
}

void CsvTraceReader::NoteColumns() {
  for (const Column& column : columns_) {
    if (column.texts == 0) continue;
    builder_.Note(column.values == 0
                      ? fmt::format("column '{}' holds text and was left out",
                                    column.name)
                      : fmt::format("column '{}': {} cells are no numbers and "
                                    "were left out",
                                    column.name, column.texts));
  }
}

absl::StatusOr<Trace> CsvTraceReader::Read() {
  RETURN_IF_ERROR(ReadHeader());
  while (csv_.Next()) {
    if (csv_.Fields().size() == columns_.size()) {
      RETURN_IF_ERROR(ReadRecord());
      continue;
    }
    if (csv_.IsTorn()) {
      builder_.Note("the last line is cut off and was left out");
      break;
    }
    return csv_.Error(fmt::format("{} cells, but the header has {} columns",
                                  csv_.Fields().size(), columns_.size()));
  }
  RETURN_IF_ERROR(csv_.Status());
  NoteColumns();
  return builder_.Finish();
}

// Shortest text that reads back to the same float.
std::string CellText(float value) {
  if (IsAbsent(value)) return "";
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  return fmt::format("{}", value);
}

std::string Quoted(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

// All columns of a trace, in the order in which they first appear.
struct Layout {
  std::vector<Metric> metrics;
  std::vector<std::string> names;
  bool has_ranks = false;
  bool has_nodes = false;
  bool has_roles = false;
};

std::string_view NameOf(const StepRow& row, std::size_t column) {
  return row.names[row.metrics[column] - kFirstNamedMetric];
}

Layout LayoutOf(const Trace& trace) {
  Layout layout;
  std::set<std::string, std::less<>> seen;
  std::set<std::uint32_t> standard;
  for (const TraceAttempt& attempt : trace.attempts) {
    layout.has_ranks |= attempt.attempt.WorldSize() > 1;
    layout.has_roles |= !attempt.roles.empty();
    for (const NodeId& node : attempt.attempt.rank_nodes) {
      layout.has_nodes |= !node.empty();
    }
    for (const StepRow& row : attempt.rows) {
      for (std::size_t m = 0; m < row.metrics.size(); ++m) {
        if (row.metrics[m] < kFirstNamedMetric) {
          standard.insert(row.metrics[m]);
        } else if (seen.find(NameOf(row, m)) == seen.end()) {
          seen.emplace(NameOf(row, m));
          layout.names.emplace_back(NameOf(row, m));
        }
      }
    }
  }
  for (const std::uint32_t metric : standard) {
    layout.metrics.push_back(static_cast<Metric>(metric));
  }
  return layout;
}

// The row's column for each of the layout's, -1: none.
std::vector<int> ColumnsOf(const StepRow& row, const Layout& layout) {
  std::vector<int> columns;
  for (const Metric metric : layout.metrics) {
    const auto it = std::find(row.metrics.begin(), row.metrics.end(),
                              static_cast<std::uint32_t>(metric));
    columns.push_back(it == row.metrics.end()
                          ? -1
                          : static_cast<int>(it - row.metrics.begin()));
  }
  std::map<std::string_view, int> by_name;
  for (std::size_t m = 0; m < row.metrics.size(); ++m) {
    if (row.metrics[m] >= kFirstNamedMetric) {
      by_name[NameOf(row, m)] = static_cast<int>(m);
    }
  }
  for (const std::string& name : layout.names) {
    const auto it = by_name.find(name);
    columns.push_back(it == by_name.end() ? -1 : it->second);
  }
  return columns;
}

void WriteRow(const StepRow& row, const TraceAttempt& attempt,
              const Layout& layout, std::string* out) {
  const std::vector<int> columns = ColumnsOf(row, layout);
  const auto world = static_cast<std::size_t>(row.world_size);
  for (std::size_t rank = 0; rank < world; ++rank) {
    std::string cells;
    bool has_value = false;
    for (const int column : columns) {
      cells += ',';
      if (column < 0) continue;
      const float value =
          row.values[static_cast<std::size_t>(column) * world + rank];
      has_value |= !IsAbsent(value);
      cells += CellText(value);
    }
    if (!has_value && world > 1) continue;  // Did not report.
    *out += fmt::format("{},{}", row.step.value, row.attempt.value);
    if (layout.has_ranks) *out += fmt::format(",{}", rank);
    if (layout.has_nodes)
      *out += "," + Quoted(attempt.attempt.rank_nodes[rank]);
    if (layout.has_roles) {
      *out += "," + (attempt.roles.empty() ? "" : Quoted(attempt.roles[rank]));
    }
    *out += cells + "\n";
  }
}

}  // namespace

absl::StatusOr<Trace> ReadCsvTrace(std::string_view text,
                                   const std::string& file) {
  return CsvTraceReader(text, file).Read();
}

std::string WriteCsvTrace(const Trace& trace) {
  const Layout layout = LayoutOf(trace);
  std::string out = "step,attempt";
  if (layout.has_ranks) out += ",rank";
  if (layout.has_nodes) out += ",node";
  if (layout.has_roles) out += ",role";
  for (const Metric metric : layout.metrics) {
    out += fmt::format(",{}", StandardName(metric));
  }
  for (const std::string& name : layout.names) {
    // A trainer's own "rank" is a metric, not whose row it is.
    const bool is_taken = RoleOf(name) != Role::kMetric;
    out += "," + Quoted((is_taken ? "metric/" : "") + name);
  }
  out += "\n";
  for (const TraceAttempt& attempt : trace.attempts) {
    for (const StepRow& row : attempt.rows) {
      WriteRow(row, attempt, layout, &out);
    }
  }
  return out;
}

}  // namespace steadyrun::replay
