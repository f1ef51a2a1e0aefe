#pragma once

// The directory of one deployment: database, lock and cluster-id.

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

// Held for the life of the server, so that two servers never write one
// database. Released by the kernel when the process ends, however it ends.
class DataDirLock {
 public:
  // Creates the directory (mode 0750) if it is absent. FAILED_PRECONDITION
  // names the process that holds it.
  static absl::StatusOr<DataDirLock> Acquire(const std::string& data_dir);
  DataDirLock(DataDirLock&& other) noexcept;
  DataDirLock& operator=(DataDirLock&&) = delete;
  ~DataDirLock();

 private:
  explicit DataDirLock(int fd) : fd_(fd) {}
  int fd_;
};

std::string DatabasePath(const std::string& data_dir);

// Compares the identity in the database with the file `cluster-id` beside it,
// and writes what is missing of a new deployment. FAILED_PRECONDITION if the
// file says there was a deployment here but the database is empty or of
// another one: an empty database must not take over running jobs.
// `is_new`: the database file did not exist or had no tables.
absl::Status CheckClusterId(const std::string& data_dir, bool is_new,
                            WallTime now, Database& database);

}  // namespace steadyrun
