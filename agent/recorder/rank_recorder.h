#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/collectors/process_stat.h"
#include "agent/recorder/recorder_file.h"
#include "agent/recorder/step_join.h"
#include "base/clock.h"
#include "proto/messages/messages.h"

namespace steadyrun::agent {

// What is new in one rank's recorder.
struct RankReadings {
  std::vector<RankStep> steps;
  std::vector<CheckpointShard> saved;
  std::vector<RankFinished> finished;
  std::vector<std::string> log;
};

// Reads one rank's recorder from where a cursor stands, taking nothing on
// trust: numbers, counters and text are the trainer's to damage.
class RankRecorder {
 public:
  static absl::StatusOr<RankRecorder> Open(const std::string& path,
                                           const RecorderSpec& spec);

  // Reads at most one ring of steps and of events.
  RankReadings Read();
  // The rank as its writer page shows it now, without process fields.
  RankState Observe(MonoTime now);

  // True if the training code has attached to the recorder.
  bool IsAttached() const { return writer_.pid != 0; }
  std::int32_t writer_pid() const {
    return static_cast<std::int32_t>(writer_.pid);
  }
  const RecorderSpec& spec() const { return spec_; }
  const RecorderFile& file() const { return file_; }

  // `steps`: the oldest step record that is not yet durable elsewhere.
  void SaveCursor(std::uint64_t steps);
  std::uint64_t next_step() const { return next_step_; }
  void MarkSavedReported(const CheckpointShard& shard);

 private:
  struct HeldEvent {
    std::uint64_t number;
    Step step;
    std::string path;
    bool is_reported;
  };

  RankRecorder(RecorderFile file, RecorderSpec spec)
      : file_(std::move(file)), spec_(std::move(spec)) {}
  void LoadCursor();
  bool ReadWriterPage();
  void ReadSteps(RankReadings* out);
  void ReadEvents(RankReadings* out);
  bool Check(const srun_step& raw, std::uint64_t number, RankStep* out);
  void TakeEvent(const srun_event& raw, std::uint64_t number,
                 RankReadings* out);
  void Say(RankReadings* out, std::string text);

  RecorderFile file_;
  RecorderSpec spec_;
  srun_writer writer_{};
  std::uint64_t next_step_ = 0;
  std::uint64_t next_event_ = 0;
  std::deque<HeldEvent> held_;  // At most one ring of events.
  std::uint64_t saved_step_cursor_ = 0;
  std::uint64_t saved_event_cursor_ = 0;
  std::vector<std::string> names_;  // As far as the table is known.
  Step last_step_ = kNoStep;
  int lines_said_ = 0;
};

}  // namespace steadyrun::agent
