#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/ids.h"

namespace steadyrun::agent {

// A report as it is stored and sent: serialized, by its number.
struct SpooledReport {
  ReportSeq seq;
  std::string bytes;
};

// A small file that was allocated while there was space, so that reports that
// must not be lost find room on a full disk. Every write goes over bytes that
// the file already owns. Each record carries a checksum; the first broken one
// ends the file. Not thread-safe.
class ReserveFile {
 public:
  // Opens `path`, or makes it with `bytes` allocated. RESOURCE_EXHAUSTED: no
  // space for a new one.
  static absl::StatusOr<ReserveFile> Open(const std::string& path,
                                          std::size_t bytes);
  ReserveFile(ReserveFile&& other) noexcept;
  ReserveFile& operator=(ReserveFile&& other) noexcept;
  ReserveFile(const ReserveFile&) = delete;
  ReserveFile& operator=(const ReserveFile&) = delete;
  ~ReserveFile();

  // What it holds, in order.
  std::vector<SpooledReport> Load();
  // RESOURCE_EXHAUSTED if there is no room left in it.
  absl::Status Append(const SpooledReport& report);
  // Replaces everything.
  absl::Status Rewrite(const std::vector<SpooledReport>& reports);
  absl::Status Clear() { return Rewrite({}); }

  // The highest number ever used, stored or not: never used again.
  ReportSeq last_seq() const { return last_seq_; }
  absl::Status SetLastSeq(ReportSeq seq);

  // False when this Open made the file.
  bool existed() const { return existed_; }
  bool empty() const { return end_ == kRecordsOffset; }

 private:
  static constexpr std::size_t kRecordsOffset = 64;
  ReserveFile(int fd, std::string path, std::size_t bytes)
      : fd_(fd), path_(std::move(path)), bytes_(bytes) {}
  absl::Status WriteAt(std::size_t offset, std::string_view bytes);

  int fd_ = -1;
  std::string path_;
  std::size_t bytes_ = 0;
  std::size_t end_ = kRecordsOffset;
  ReportSeq last_seq_;
  bool existed_ = false;
};

}  // namespace steadyrun::agent
