#include "server/storage/data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "base/digest.h"
#include "base/file.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

std::string Trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) {
    text.pop_back();
  }
  return text;
}

std::string HolderOf(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path, 64);
  return text.ok() ? Trimmed(*text) : std::string("unknown");
}

absl::StatusOr<std::string> ReadClusterId(Database& database) {
  std::string id;
  RETURN_IF_ERROR(
      database.Query("SELECT cluster_id FROM deployment", [&](const Row& row) {
        id = row.Text(0);
        return absl::OkStatus();
      }));
  return id;
}

absl::Status CreateDeployment(const std::string& id, WallTime now,
                              Database& database) {
  return database.Run(
      "INSERT INTO deployment (id, cluster_id, server_epoch, created_unix_ms)"
      " VALUES (1, ?, 0, ?)",
      id, ToUnixMillis(now));
}

}  // namespace

absl::StatusOr<DataDirLock> DataDirLock::Acquire(const std::string& data_dir) {
  RETURN_IF_ERROR(MakeDirectories(data_dir, 0750));
  const std::string path = data_dir + "/steadyrun.lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
  if (fd < 0) {
    return absl::UnavailableError(fmt::format("cannot open the lock '{}': {}",
                                              path, std::strerror(errno)));
  }
  DataDirLock lock(fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(fmt::format(
        "data_dir '{}' is in use by process {} (lock '{}'): stop that server, "
        "or choose another data_dir",
        data_dir, HolderOf(path), path));
  }
  // For people; a full disk must not keep the server from starting.
  const std::string pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(fd, 0) == 0) {
    [[maybe_unused]] const ssize_t n = ::pwrite(fd, pid.data(), pid.size(), 0);
  }
  return lock;
}

DataDirLock::DataDirLock(DataDirLock&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)) {}

DataDirLock::~DataDirLock() {
  if (fd_ >= 0) ::close(fd_);
}

std::string DatabasePath(const std::string& data_dir) {
  return data_dir + "/steadyrun.db";
}

absl::Status CheckClusterId(const std::string& data_dir, bool is_new,
                            WallTime now, Database& database) {
  const std::string path = data_dir + "/cluster-id";
  const absl::StatusOr<std::string> file = ReadFile(path, 256);
  if (!file.ok() && !absl::IsNotFound(file.status())) return file.status();
  ASSIGN_OR_RETURN(std::string stored, ReadClusterId(database));
  if (stored.empty() && !file.ok()) {
    stored = RandomHex64();
    RETURN_IF_ERROR(CreateDeployment(stored, now, database));
  }
  if (!file.ok()) return WriteFileAtomically(path, stored + "\n", 0640);
  const std::string expected = Trimmed(*file);
  if (stored == expected) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "'{}' says this is deployment '{}', but the database '{}' {}. Runs may "
      "be alive that it does not know. Restore the database from a backup; or, "
      "if nothing of that deployment runs any more, remove '{}' to begin a new "
      "one",
      path, expected, database.path(),
      is_new || stored.empty() ? std::string("is empty")
                               : fmt::format("is of deployment '{}'", stored),
      path));
}

}  // namespace steadyrun
