#include "replay/readers/read_trace.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "base/number_text.h"
#include "base/status_macros.h"
#include "replay/csv.h"
#include "replay/readers/csv_trace.h"
#include "replay/readers/tensorboard_trace.h"
#include "replay/readers/trainer_state.h"

namespace steadyrun::replay {
namespace {

// A header of names, one of them `step`; or any first line that is a table's:
// three cells or more without a blank or a bracket at the begin.
bool LooksLikeCsv(std::string_view bytes) {
  const std::string_view first =
      bytes.substr(0, std::min(bytes.find('\n'), bytes.size()));
  CsvReader csv(first, "");
  if (!csv.Next() || csv.Fields().size() < 2) return false;
  bool is_table = true;
  for (const CsvField& field : csv.Fields()) {
    if (Trim(field.text) == "step") return true;
    // A name, not a sentence nor a number.
    is_table &= !field.text.empty() && field.text.size() < 100 &&
                field.text.find_first_of(" {}[]=:'\"|") == std::string::npos &&
                !ParseNumber(field.text);
  }
  return is_table && csv.Fields().size() >= 3;
}

bool LooksLikeTrainerState(std::string_view bytes) {
  const std::size_t begin = bytes.find_first_not_of(" \t\r\n");
  return begin != std::string_view::npos && bytes[begin] == '{' &&
         bytes.find("\"log_history\"") != std::string_view::npos;
}

}  // namespace

absl::StatusOr<Recording> Recognise(std::string_view bytes,
                                    const std::string& file) {
  Recording recording;
  if (bytes.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: the file is empty", file));
  }
  if (LooksLikeEventFile(bytes)) {
    recording.kind = RecordingKind::kTensorBoard;
    return recording;
  }
  if (LooksLikeTrainerState(bytes)) {
    recording.kind = RecordingKind::kTrainerState;
    return recording;
  }
  if (LooksLikeCsv(bytes)) {
    recording.kind = RecordingKind::kCsv;
    return recording;
  }
  recording.detection = DetectLogFormat(bytes);
  if (!recording.detection.scores.empty()) return recording;
  std::vector<std::string_view> known;
  for (const LogFormat format : kLogFormats) {
    known.push_back(LogFormatName(format));
  }
  return absl::InvalidArgumentError(fmt::format(
      "{}: no known recording: none of {} lines prints a step. Known are CSV "
      "with a column 'step', TensorBoard event files, trainer_state.json and "
      "logs of {}",
      file, recording.detection.lines, fmt::join(known, ", ")));
}

absl::StatusOr<Trace> ReadTrace(std::string_view bytes,
                                const std::string& file) {
  ASSIGN_OR_RETURN(const Recording recording, Recognise(bytes, file));
  switch (recording.kind) {
    case RecordingKind::kCsv:
      return ReadCsvTrace(bytes, file);
    case RecordingKind::kTensorBoard:
      return ReadTensorBoardTrace(bytes, file);
    case RecordingKind::kTrainerState:
      return ReadTrainerState(bytes, file);
    case RecordingKind::kLog:
      return ReadLogTrace(bytes, file, recording.detection.scores[0].format);
  }
  return absl::InternalError("unknown kind of recording");
}

}  // namespace steadyrun::replay
