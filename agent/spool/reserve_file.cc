#include "agent/spool/reserve_file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/status_macros.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

constexpr std::uint64_t kMagic = 0x3156534552525253ull;  // "SRRRESV1"

struct Header {
  std::uint64_t magic = kMagic;
  std::uint64_t last_seq = 0;
};
struct RecordHead {
  std::uint64_t bytes = 0;  // Of the report; 0 ends the file.
  std::uint64_t seq = 0;
  std::uint64_t check = 0;
};

// FNV-1a: finds torn and stale records; nobody forges this file.
std::uint64_t Checksum(std::uint64_t seq, std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325ull ^ seq;
  for (const char c : bytes) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  }
  return hash;
}

absl::Status Error(const char* doing, const std::string& path, int error) {
  const std::string text = fmt::format("cannot {} reserve file '{}': {}", doing,
                                       path, ::strerrordesc_np(error));
  if (error == ENOSPC || error == EDQUOT) {
    return absl::ResourceExhaustedError(text);
  }
  return absl::UnavailableError(text);
}

bool ReadAt(int fd, std::size_t offset, void* out, std::size_t bytes) {
  return ::pread(fd, out, bytes, static_cast<off_t>(offset)) ==
         static_cast<ssize_t>(bytes);
}

}  // namespace

absl::StatusOr<ReserveFile> ReserveFile::Open(const std::string& path,
                                              std::size_t bytes) {
  const int fd =
      ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return Error("open", path, errno);
  ReserveFile file(fd, path, bytes);
  struct stat info {};
  if (::fstat(fd, &info) != 0) return Error("stat", path, errno);
  Header header;
  if (static_cast<std::size_t>(info.st_size) >= bytes &&
      ReadAt(fd, 0, &header, sizeof header) && header.magic == kMagic) {
    file.existed_ = true;
    file.last_seq_ = ReportSeq{header.last_seq};
    return file;
  }
  // New, or of no use: taken as new.
  const int error = ::posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  if (error != 0) {
    ::unlink(path.c_str());
    return Error("allocate", path, error);
  }
  RETURN_IF_ERROR(file.SetLastSeq(ReportSeq{0}));
  RETURN_IF_ERROR(file.Clear());
  return file;
}

ReserveFile::ReserveFile(ReserveFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      bytes_(other.bytes_),
      end_(other.end_),
      last_seq_(other.last_seq_),
      existed_(other.existed_) {}

ReserveFile& ReserveFile::operator=(ReserveFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  bytes_ = other.bytes_;
  end_ = other.end_;
  last_seq_ = other.last_seq_;
  existed_ = other.existed_;
  return *this;
}

ReserveFile::~ReserveFile() {
  if (fd_ >= 0) ::close(fd_);
}

std::vector<SpooledReport> ReserveFile::Load() {
  std::vector<SpooledReport> reports;
  end_ = kRecordsOffset;
  while (end_ + sizeof(RecordHead) <= bytes_) {
    RecordHead head;
    if (!ReadAt(fd_, end_, &head, sizeof head) || head.bytes == 0 ||
        head.bytes > bytes_ - end_ - sizeof head) {
      break;
    }
    SpooledReport report{ReportSeq{head.seq}, std::string(head.bytes, '\0')};
    if (!ReadAt(fd_, end_ + sizeof head, report.bytes.data(), head.bytes) ||
        Checksum(head.seq, report.bytes) != head.check) {
      break;
    }
    end_ += sizeof head + head.bytes;
    reports.push_back(std::move(report));
  }
  return reports;
}

absl::Status ReserveFile::Append(const SpooledReport& report) {
  const std::size_t needed =
      sizeof(RecordHead) + report.bytes.size() + sizeof(RecordHead);
  if (report.bytes.empty() || end_ + needed > bytes_) {
    return absl::ResourceExhaustedError(
        fmt::format("reserve file '{}' is full", path_));
  }
  const RecordHead head{.bytes = report.bytes.size(),
                        .seq = report.seq.value,
                        .check = Checksum(report.seq.value, report.bytes)};
  const RecordHead terminator;
  std::string record(reinterpret_cast<const char*>(&head), sizeof head);
  record += report.bytes;
  record.append(reinterpret_cast<const char*>(&terminator), sizeof terminator);
  RETURN_IF_ERROR(WriteAt(end_, record));
  end_ += record.size() - sizeof terminator;
  return absl::OkStatus();
}

absl::Status ReserveFile::Rewrite(const std::vector<SpooledReport>& reports) {
  end_ = kRecordsOffset;
  const RecordHead terminator;
  RETURN_IF_ERROR(WriteAt(
      end_, {reinterpret_cast<const char*>(&terminator), sizeof terminator}));
  for (const SpooledReport& report : reports) {
    RETURN_IF_ERROR(Append(report));
  }
  return absl::OkStatus();
}

absl::Status ReserveFile::SetLastSeq(ReportSeq seq) {
  if (seq == last_seq_ && existed_) return absl::OkStatus();
  const Header header{.last_seq = seq.value};
  RETURN_IF_ERROR(
      WriteAt(0, {reinterpret_cast<const char*>(&header), sizeof header}));
  last_seq_ = seq;
  return absl::OkStatus();
}

absl::Status ReserveFile::WriteAt(std::size_t offset, std::string_view bytes) {
  const ssize_t n =
      ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
  if (n == static_cast<ssize_t>(bytes.size())) return absl::OkStatus();
  return Error("write", path_, n < 0 ? errno : EIO);
}

}  // namespace steadyrun::agent
