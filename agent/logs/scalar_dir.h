#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "agent/logs/line_values.h"
#include "agent/logs/step_source.h"
#include "base/clock.h"

namespace steadyrun::agent {

struct ScalarDirOptions {
  RunId run;
  AttemptId attempt;
  Rank rank;
  enum class Kind {
    kTensorBoard,   // Event files, events.out.tfevents.*, up to three deep.
    kDeepSpeedCsv,  // csv_monitor: a file a metric with lines "step,value".
  } kind = Kind::kTensorBoard;
  std::string directory;
  std::string cursor_path;
  // What lies there already is of an earlier attempt and is not read.
  bool is_new = true;
};

// Steps of the scalars that a trainer writes to a directory, while it writes
// them. A step's values come from several files and writes: it is told once it
// has been quiet for kQuiet. Writers hold events back (TensorBoard's for up to
// two minutes), so that this serves the curves more than the search for hangs.
//
// Bounded: kMaxFiles files, kMaxBytes a Poll, kMaxPending steps. May block in
// the file system; never called by the agent's loop.
class ScalarDirReader : public StepSource {
 public:
  static constexpr Duration kQuiet = std::chrono::seconds(2);
  static constexpr Duration kScanInterval = std::chrono::seconds(5);
  static constexpr std::size_t kMaxFiles = 256;
  static constexpr std::size_t kMaxEntries = 4096;  // Looked at in a scan.
  static constexpr std::size_t kChunk = 256 << 10;  // Of one file.
  static constexpr std::size_t kMaxBytes = 4 << 20;
  static constexpr std::size_t kMaxPending = 1024;

  explicit ScalarDirReader(ScalarDirOptions options);

  std::vector<Event> Poll(Now now) override;
  std::vector<Event> Drain(Now now) override;
  Step last_step() const override { return last_; }
  std::vector<std::string> TakeNotes() override;
  std::string Cursor() const override;
  void WriteCursor(const std::string& cursor) override;

 private:
  struct File {
    std::string path;
    std::uint64_t offset = 0;
    std::string column;    // Of CSV: what its values are.
    bool is_lost = false;  // Damaged: no way on.
  };
  struct PendingStep {
    NamedValues values;
    Now heard;
    double unix_seconds = 0;  // As the writer says; 0: it does not.
  };

  void LoadCursor();
  void Scan();
  bool IsOurs(std::string_view name) const;
  // Bytes read; 0: nothing new.
  std::size_t ReadFile(File* file, Now now);
  std::size_t TakeRecords(std::string_view bytes, File* file, Now now);
  std::size_t TakeCsv(std::string_view bytes, File* file, Now now);
  void TakeCsvLine(std::string_view line, File* file, Now now);
  void Put(std::int64_t step, const NamedValues& values, double unix_seconds,
           Now now);
  std::vector<Event> Emit(Now now, bool is_end);
  Event EventOf(std::int64_t step, const PendingStep& pending);
  void Note(std::string_view text);

  const ScalarDirOptions options_;
  std::map<std::uint64_t, File> files_;              // By inode.
  std::map<std::uint64_t, std::uint64_t> begin_at_;  // Of files not yet seen.
  MonoTime scanned_;
  bool has_scanned_ = false;
  bool is_first_scan_new_;
  std::map<std::int64_t, PendingStep> pending_;
  std::deque<std::int64_t> told_;  // The newest; later values come too late.
  Step last_ = kNoStep;
  std::int64_t before_step_ = -1;
  double before_seconds_ = 0;
  std::string committed_;
  std::vector<std::string> notes_;
};

}  // namespace steadyrun::agent
