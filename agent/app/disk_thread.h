#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/app/mailbox.h"
#include "agent/core/effect.h"
#include "agent/core/event.h"
#include "agent/spool/spool.h"
#include "agent/supervisor/state_file.h"

namespace steadyrun::agent {

// All that may wait for a disk: the fence and the spool. A disk that stands
// still for a minute (a checkpoint is being written) must not silence the
// heartbeats, so the loop only leaves orders here. The fence goes first.
class DiskThread {
 public:
  struct SpoolWritten {
    ReportSeq through;  // Everything up to here is in the spool.
    SpoolCounts counts;
    std::vector<std::string> log;
  };
  struct ReportsRead {
    std::uint64_t request = 0;
    std::vector<SpooledReport> reports;
  };
  using Answer = std::variant<StatePersisted, StatePersistFailed, SpoolWritten,
                              ReportsRead>;

  DiskThread(std::unique_ptr<StateFile> state_file,
             std::unique_ptr<Spool> spool);
  ~DiskThread();  // Carries out what was ordered, then ends.
  DiskThread(const DiskThread&) = delete;
  DiskThread& operator=(const DiskThread&) = delete;

  // From the loop's thread; none of them waits.
  void Persist(PersistState order) ABSL_LOCKS_EXCLUDED(mutex_);
  void Append(Report report) ABSL_LOCKS_EXCLUDED(mutex_);
  void DropThrough(ReportSeq seq) ABSL_LOCKS_EXCLUDED(mutex_);
  // Answered by ReportsRead with the same number. The newest order counts.
  void Read(std::uint64_t request, ReportSeq after, std::size_t max_bytes)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Replaces a small file for people; failing does no harm. Not answered.
  void WriteText(std::string path, std::string text)
      ABSL_LOCKS_EXCLUDED(mutex_);

  std::vector<Answer> Take() { return answers_.Take(); }
  int fd() const { return answers_.fd(); }

 private:
  struct ReadOrder {
    std::uint64_t request = 0;
    ReportSeq after;
    std::size_t max_bytes = 0;
  };
  struct Orders {
    std::vector<PersistState> writes;  // One; the core has one under way.
    std::vector<Report> reports;
    ReportSeq drop_through;
    bool is_drop_new = false;
    std::optional<ReadOrder> read;
    std::string text_path;
    std::string text;
    bool IsEmpty() const {
      return writes.empty() && reports.empty() && !is_drop_new && !read &&
             text_path.empty();
    }
  };
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return is_stopping_ || !orders_.IsEmpty();
  }
  void Run();
  void CarryOut(Orders orders);

  const std::unique_ptr<StateFile> state_file_;
  const std::unique_ptr<Spool> spool_;
  Mailbox<Answer> answers_;
  absl::Mutex mutex_;
  Orders orders_ ABSL_GUARDED_BY(mutex_);
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace steadyrun::agent
