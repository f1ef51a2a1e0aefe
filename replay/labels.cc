#include "replay/labels.h"

#include <spdlog/fmt/fmt.h>

#include <cmath>
#include <map>

#include "base/nearest_word.h"
#include "base/number_text.h"
#include "base/status_macros.h"
#include "replay/csv.h"
#include "replay/label_kinds.h"

namespace steadyrun::replay {
namespace {

using Columns = std::map<std::string, std::size_t>;

absl::StatusOr<Columns> ReadHeader(CsvReader& csv) {
  Columns columns;
  std::vector<std::string> names;
  if (csv.Next()) {
    for (const CsvField& field : csv.Fields()) {
      names.emplace_back(Trim(field.text));
      columns.emplace(names.back(), columns.size());
    }
  }
  RETURN_IF_ERROR(csv.Status());
  for (const char* needed : {"start_step", "end_step", "kind"}) {
    if (columns.contains(needed)) continue;
    const std::string nearest = NearestWord(needed, names);
    return csv.Error(fmt::format(
        "no column '{}'{}; labels are start_step,end_step,kind", needed,
        nearest.empty() ? "" : fmt::format(" (is '{}' meant?)", nearest)));
  }
  return columns;
}

class RecordReader {
 public:
  RecordReader(const CsvReader& csv, const Columns& columns)
      : csv_(csv), columns_(columns) {}

  absl::StatusOr<Label> Read() const {
    Label label;
    ASSIGN_OR_RETURN(label.onset.value, Whole("start_step", kNoStep.value));
    if (label.onset == kNoStep) {
      return csv_.ErrorAt(csv_.Fields()[columns_.at("start_step")],
                          "'start_step' is empty");
    }
    ASSIGN_OR_RETURN(label.end.value, Whole("end_step", label.onset.value));
    if (label.end < label.onset) {
      return csv_.ErrorAt(csv_.Fields()[columns_.at("end_step")],
                          fmt::format("'end_step' {} is before 'start_step' {}",
                                      label.end.value, label.onset.value));
    }
    label.kind = Trim(Text("kind"));
    if (const auto known = ClassOfLabel(label.kind); !known.ok()) {
      return csv_.ErrorAt(csv_.Fields()[columns_.at("kind")],
                          std::string(known.status().message()));
    }
    label.node = Trim(Text("node"));
    ASSIGN_OR_RETURN(label.attempt.value, Whole("attempt", kNoAttempt.value));
    label.note = Text("evidence");
    if (!IsAbsentWord(Text("onset_seconds"))) {
      label.onset_seconds = ParseNumber(Text("onset_seconds"));
      if (!label.onset_seconds) {
        return csv_.ErrorAt(csv_.Fields()[columns_.at("onset_seconds")],
                            "'onset_seconds': expected a number");
      }
    }
    RETURN_IF_ERROR(ReadRanks(&label));
    return label;
  }

 private:
  std::string_view Text(const std::string& name) const {
    const auto it = columns_.find(name);
    if (it == columns_.end() || it->second >= csv_.Fields().size()) return "";
    return csv_.Fields()[it->second].text;
  }

  absl::StatusOr<std::int64_t> Whole(const std::string& name,
                                     std::int64_t otherwise) const {
    if (IsAbsentWord(Text(name))) return otherwise;
    const auto value = ParseNumber(Text(name));
    if (!value || !(*value >= 0 && *value < 9e15) ||
        std::floor(*value) != *value) {
      return csv_.ErrorAt(
          csv_.Fields()[columns_.at(name)],
          fmt::format("'{}': expected a whole number, found '{}'", name,
                      Text(name).substr(0, 40)));
    }
    return static_cast<std::int64_t>(*value);
  }

  absl::Status ReadRanks(Label* label) const {
    std::string_view rest = Text("rank");
    if (IsAbsentWord(rest)) return absl::OkStatus();
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find(';'), rest.size());
      const auto value = ParseNumber(rest.substr(0, end));
      if (!value || !(*value >= 0 && *value < 1e9) ||
          std::floor(*value) != *value) {
        return csv_.ErrorAt(
            csv_.Fields()[columns_.at("rank")],
            fmt::format("'rank': expected ranks as 3 or 3;4;5, found '{}'",
                        Text("rank").substr(0, 40)));
      }
      label->ranks.push_back(Rank{static_cast<std::int32_t>(*value)});
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return absl::OkStatus();
  }

  const CsvReader& csv_;
  const Columns& columns_;
};

}  // namespace

absl::StatusOr<std::vector<Label>> ReadLabels(std::string_view text,
                                              const std::string& file) {
  CsvReader csv(text, file);
  ASSIGN_OR_RETURN(const Columns columns, ReadHeader(csv));
  std::vector<Label> labels;
  while (csv.Next()) {
    if (csv.Fields().size() < 3) {
      return csv.Error("fewer than three cells");
    }
    for (const char* needed : {"start_step", "end_step", "kind"}) {
      if (columns.at(needed) >= csv.Fields().size()) {
        return csv.Error(fmt::format("no cell for '{}'", needed));
      }
    }
    ASSIGN_OR_RETURN(Label label, RecordReader(csv, columns).Read());
    labels.push_back(std::move(label));
  }
  RETURN_IF_ERROR(csv.Status());
  return labels;
}

}  // namespace steadyrun::replay
