#pragma once

// Any recording: looks at the file to tell what it is.

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "replay/readers/log_trace.h"
#include "replay/trace.h"

namespace steadyrun::replay {

// A recording in memory takes some ten times its size.
inline constexpr std::size_t kMaxRecordingBytes = std::size_t{512} << 20;

enum class RecordingKind { kCsv, kTensorBoard, kTrainerState, kLog };

struct Recording {
  RecordingKind kind = RecordingKind::kLog;
  LogDetection detection;  // Of kLog.
};

// What `bytes` are. INVALID_ARGUMENT: none of the known formats; says which
// are known and how near the nearest came.
absl::StatusOr<Recording> Recognise(std::string_view bytes,
                                    const std::string& file);

// `file` is for messages.
absl::StatusOr<Trace> ReadTrace(std::string_view bytes,
                                const std::string& file);

}  // namespace steadyrun::replay
