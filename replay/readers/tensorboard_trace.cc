#include "replay/readers/tensorboard_trace.h"

#include <spdlog/fmt/fmt.h>

#include <map>
#include <utility>

#include "agent/logs/event_record.h"
#include "agent/logs/step_line.h"
#include "base/status_macros.h"

namespace steadyrun::replay {
namespace {

class EventTraceReader {
 public:
  EventTraceReader() : builder_("tensorboard") {}

  absl::Status ReadRecords(std::string_view bytes);
  absl::StatusOr<Trace> Finish(const std::string& file);

 private:
  struct Progress {
    std::int64_t attempt = 1;
    std::int64_t step = -1;
    double wall_time = 0;
  };

  absl::Status Take(const agent::ScalarEvent& event);
  absl::Status TakeValue(const agent::ScalarEvent& event,
                         const std::string& tag, double value);
  absl::Status AddStepTimes();

  TraceBuilder builder_;
  // Writers interleave tags of different steps: each tag goes its own way.
  std::map<std::string, Progress> tags_;
  // Of each step, from its first scalar to the next step's.
  std::map<std::pair<std::int64_t, std::int64_t>, double> wall_times_;
  bool has_step_time_ = false;
  std::int64_t damaged_ = 0;
};

absl::Status EventTraceReader::TakeValue(const agent::ScalarEvent& event,
                                         const std::string& tag, double value) {
  Progress& progress = tags_[tag];
  if (event.step < progress.step) ++progress.attempt;
  progress.step = event.step;
  wall_times_.try_emplace({progress.attempt, event.step}, event.wall_time);
  agent::StepLine line;
  line.values.emplace_back(tag, value);
  agent::AddStandardNames(&line);
  TraceSample sample{.step = event.step};
  sample.attempt = progress.attempt;
  for (const auto& [name, number] : line.values) {
    const auto column = builder_.Column(name);
    if (!column) continue;
    has_step_time_ |=
        *column == static_cast<std::uint32_t>(Metric::kStepSeconds);
    sample.values.emplace_back(*column, number);
  }
  return builder_.Add(sample);
}

absl::Status EventTraceReader::Take(const agent::ScalarEvent& event) {
  for (const auto& [tag, value] : event.values) {
    RETURN_IF_ERROR(TakeValue(event, tag, value));
  }
  return absl::OkStatus();
}

absl::Status EventTraceReader::ReadRecords(std::string_view bytes) {
  agent::RecordReader records(bytes);
  std::string_view data;
  for (;;) {
    switch (records.Read(&data)) {
      case agent::RecordReader::Next::kRecord: {
        const auto event = agent::ParseEvent(data);
        if (!event) {
          ++damaged_;
        } else if (event->step >= 0) {
          RETURN_IF_ERROR(Take(*event));
        }
        break;
      }
      case agent::RecordReader::Next::kDamaged:
        ++damaged_;
        break;
      case agent::RecordReader::Next::kTorn:
        builder_.Note("the last record is cut off and was left out");
        return absl::OkStatus();
      case agent::RecordReader::Next::kLost:
        builder_.Note(
            fmt::format("a record's length is damaged: the last {} bytes were "
                        "left out",
                        records.BytesLeft()));
        return absl::OkStatus();
      case agent::RecordReader::Next::kEnd:
        return absl::OkStatus();
    }
  }
}

absl::Status EventTraceReader::AddStepTimes() {
  const auto column = static_cast<std::uint32_t>(Metric::kStepSeconds);
  auto before = wall_times_.begin();
  for (auto it = wall_times_.begin(); it != wall_times_.end(); before = it++) {
    const auto& [attempt, step] = it->first;
    if (it == before || before->first.first != attempt) continue;
    const double steps = static_cast<double>(step - before->first.second);
    const double seconds = (it->second - before->second) / steps;
    if (!(seconds > 0)) continue;
    TraceSample sample{.step = step};
    sample.attempt = attempt;
    sample.values = {{column, seconds}};
    RETURN_IF_ERROR(builder_.Add(sample));
  }
  builder_.Note(
      "no tag is a step time: it is taken from the wall times of the events");
  return absl::OkStatus();
}

absl::StatusOr<Trace> EventTraceReader::Finish(const std::string& file) {
  if (builder_.Samples() == 0) {
    return absl::InvalidArgumentError(
        fmt::format("{}: an event file without scalars", file));
  }
  if (!has_step_time_) RETURN_IF_ERROR(AddStepTimes());
  if (damaged_ > 0) {
    builder_.Note(fmt::format(
        "{} records do not fit their check sum and were left out", damaged_));
  }
  return builder_.Finish();
}

}  // namespace

bool LooksLikeEventFile(std::string_view bytes) {
  if (bytes.size() < 12) return false;
  std::string_view data;
  const agent::RecordReader::Next next = agent::RecordReader(bytes).Read(&data);
  return next != agent::RecordReader::Next::kLost;
}

absl::StatusOr<Trace> ReadTensorBoardTrace(std::string_view bytes,
                                           const std::string& file) {
  if (!LooksLikeEventFile(bytes)) {
    return absl::InvalidArgumentError(
        fmt::format("{}: no TensorBoard event file: the first record's length "
                    "does not fit its check sum",
                    file));
  }
  EventTraceReader reader;
  if (const absl::Status read = reader.ReadRecords(bytes); !read.ok()) {
    return absl::Status(
        read.code(), fmt::format("{}: {}", file, std::string(read.message())));
  }
  return reader.Finish(file);
}

}  // namespace steadyrun::replay
