#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

absl::Status ErrnoStatus(std::string_view what, const std::string& path,
                         int error) {
  const auto text =
      fmt::format("cannot {} '{}': {}", what, path, std::strerror(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(text);
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(text);
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(text);
    default:
      return absl::UnavailableError(text);
  }
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

absl::StatusOr<std::string> ReadFrom(int fd, const std::string& path,
                                     std::size_t max_bytes, bool refuse_more) {
  std::string content;
  char buffer[65536];
  for (;;) {
    const ssize_t n = ::read(fd, buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("read", path, errno);
    if (n == 0) return content;
    const std::size_t room = max_bytes - content.size();
    if (static_cast<std::size_t>(n) > room && refuse_more) {
      return absl::ResourceExhaustedError(
          fmt::format("'{}' is larger than {} bytes", path, max_bytes));
    }
    content.append(buffer, std::min(static_cast<std::size_t>(n), room));
    if (content.size() == max_bytes && !refuse_more) return content;
  }
}

absl::Status WriteAll(int fd, std::string_view content,
                      const std::string& path) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("write", path, errno);
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     std::size_t max_bytes) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoStatus("open", path, errno);
  return ReadFrom(fd.get(), path, max_bytes, /*refuse_more=*/true);
}

absl::StatusOr<std::string> ReadFileTail(const std::string& path,
                                         std::size_t max_bytes) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoStatus("open", path, errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return ErrnoStatus("stat", path, errno);
  const auto size = static_cast<std::size_t>(info.st_size);
  if (size > max_bytes) {
    ::lseek(fd.get(), static_cast<off_t>(size - max_bytes), SEEK_SET);
  }
  return ReadFrom(fd.get(), path, max_bytes, /*refuse_more=*/false);
}

absl::Status WriteFileAtomically(const std::string& path,
                                 std::string_view content, int mode) {
  const std::string temporary = path + ".tmp";
  {
    const Descriptor fd(::open(temporary.c_str(),
                               O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
    if (fd.get() < 0) return ErrnoStatus("create", temporary, errno);
    absl::Status written = WriteAll(fd.get(), content, temporary);
    if (written.ok() && ::fsync(fd.get()) != 0) {
      written = ErrnoStatus("sync", temporary, errno);
    }
    if (!written.ok()) {
      ::unlink(temporary.c_str());
      return written;
    }
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    return ErrnoStatus("rename to", path, errno);
  }
  return absl::OkStatus();
}

absl::Status MakeDirectories(const std::string& path, int mode) {
  std::error_code error;
  if (std::filesystem::create_directories(path, error)) {
    ::chmod(path.c_str(), static_cast<mode_t>(mode));
  }
  if (error) return ErrnoStatus("create directory", path, error.value());
  return absl::OkStatus();
}

}  // namespace steadyrun
