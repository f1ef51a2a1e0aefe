#include "agent/supervisor/rank_record.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "base/file.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kRunPrefix = "r-";
constexpr std::string_view kAttemptPrefix = "attempt-";
constexpr std::string_view kRankPrefix = "rank-";

std::optional<std::int64_t> NumberAfter(std::string_view name,
                                        std::string_view prefix) {
  if (name.substr(0, prefix.size()) != prefix) return std::nullopt;
  name.remove_prefix(prefix.size());
  std::int64_t number = 0;
  const auto [end, error] =
      std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc{} || end != name.data() + name.size() || number < 0) {
    return std::nullopt;
  }
  return number;
}

std::vector<std::string> Entries(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool ReadBlock(const std::string& record, RecordBlock block, RecordBytes* out) {
  const int fd = ::open(record.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;
  const auto offset = static_cast<off_t>(block) * kRecordBlock;
  const ssize_t n = ::pread(fd, out, sizeof *out, offset);
  ::close(fd);
  return n == static_cast<ssize_t>(sizeof *out);
}

template <typename T>
std::optional<T> ReadPart(const std::string& record, RecordBlock block) {
  RecordBytes bytes;
  T part{};
  if (!ReadBlock(record, block, &bytes) || !DecodeRecord(block, bytes, &part)) {
    return std::nullopt;
  }
  return part;
}

template <typename T>
bool WritePart(int fd, RecordBlock block, const T& part) {
  const RecordBytes bytes = EncodeRecord(block, part);
  const auto offset = static_cast<off_t>(block) * kRecordBlock;
  return ::pwrite(fd, &bytes, sizeof bytes, offset) ==
         static_cast<ssize_t>(sizeof bytes);
}

}  // namespace

RankStore::RankStore(std::string state_directory)
    : root_(std::move(state_directory) + "/ranks") {}

std::string RankStore::RunDirectory(const RunId& run) const {
  return fmt::format("{}/{}{}", root_, kRunPrefix, run);
}

RankFiles RankStore::FilesOf(const RankKey& key) const {
  RankFiles files;
  files.directory =
      fmt::format("{}/{}{}/{}{}", RunDirectory(key.run), kAttemptPrefix,
                  key.attempt.value, kRankPrefix, key.rank.value);
  files.record = files.directory + "/record";
  files.stdout_path = files.directory + "/stdout.log";
  files.stderr_path = files.directory + "/stderr.log";
  return files;
}

absl::Status RankStore::Create(const RankKey& key,
                               const LaunchRecord& launch) const {
  const RankFiles files = FilesOf(key);
  if (absl::Status made = MakeDirectories(files.directory, 0700); !made.ok()) {
    return made;
  }
  const int fd =
      ::open(files.record.c_str(),
             O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    const auto text = fmt::format("cannot create record '{}': {}", files.record,
                                  std::strerror(errno));
    return errno == EEXIST ? absl::AlreadyExistsError(text)
                           : absl::UnavailableError(text);
  }
  int error = ::posix_fallocate(fd, 0, kRecordBlock * kRecordBlocks);
  if (error == 0 && !WritePart(fd, RecordBlock::kLaunch, launch)) {
    error = errno;
  }
  ::close(fd);
  if (error == 0) return absl::OkStatus();
  ::unlink(files.record.c_str());
  const auto text = fmt::format(
      "cannot allocate record '{}': {}; free some space in the agent's state "
      "directory",
      files.record, std::strerror(error));
  return error == ENOSPC ? absl::ResourceExhaustedError(text)
                         : absl::UnavailableError(text);
}

std::vector<RankKey> RankStore::List() const {
  std::vector<RankKey> keys;
  for (const std::string& run : Entries(root_)) {
    if (run.size() <= kRunPrefix.size() ||
        std::string_view(run).substr(0, kRunPrefix.size()) != kRunPrefix) {
      continue;
    }
    const RunId id = run.substr(kRunPrefix.size());
    for (const std::string& attempt : Entries(root_ + "/" + run)) {
      const auto number = NumberAfter(attempt, kAttemptPrefix);
      if (!number) continue;
      for (const std::string& rank :
           Entries(RunDirectory(id) + "/" + attempt)) {
        const auto rank_number = NumberAfter(rank, kRankPrefix);
        if (!rank_number || *rank_number > INT32_MAX) continue;
        keys.push_back({id, AttemptId{*number},
                        Rank{static_cast<std::int32_t>(*rank_number)}});
      }
    }
  }
  std::sort(keys.begin(), keys.end());
  return keys;
}

void RankStore::RemoveRank(const RankKey& key) const {
  const RankFiles files = FilesOf(key);
  if (const auto launch = ReadLaunch(files.record)) {
    const std::string recorder =
        FieldText(launch->recorder, sizeof launch->recorder);
    if (!recorder.empty()) {
      ::unlink(recorder.c_str());
      ::unlink((recorder + ".cursor").c_str());
    }
  }
  std::error_code error;
  fs::remove_all(files.directory, error);
  RemoveRunIfEmpty(key.run, key.attempt);
}

void RankStore::RemoveRunIfEmpty(const RunId& run, AttemptId attempt) const {
  std::error_code error;  // Directories that are not empty stay.
  fs::remove(
      fmt::format("{}/{}{}", RunDirectory(run), kAttemptPrefix, attempt.value),
      error);
  fs::remove(RunDirectory(run), error);
}

std::optional<LaunchRecord> ReadLaunch(const std::string& record) {
  return ReadPart<LaunchRecord>(record, RecordBlock::kLaunch);
}
std::optional<IdentityRecord> ReadIdentity(const std::string& record) {
  return ReadPart<IdentityRecord>(record, RecordBlock::kIdentity);
}
std::optional<EndRecord> ReadEnd(const std::string& record) {
  return ReadPart<EndRecord>(record, RecordBlock::kEnd);
}
ReportRecord ReadReport(const std::string& record) {
  return ReadPart<ReportRecord>(record, RecordBlock::kReport)
      .value_or(ReportRecord{});
}

absl::Status WriteReport(const std::string& record,
                         const ReportRecord& report) {
  const int fd = ::open(record.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
  const bool is_written =
      fd >= 0 && WritePart(fd, RecordBlock::kReport, report);
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (is_written) return absl::OkStatus();
  return absl::UnavailableError(fmt::format("cannot write record '{}': {}",
                                            record, std::strerror(error)));
}

bool ClaimUnstarted(const std::string& record, const ReportRecord& report) {
  const int fd = ::open(record.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return true;  // No record: a shim could not start either.
  const bool is_claimed = ::flock(fd, LOCK_EX | LOCK_NB) == 0 &&
                          WritePart(fd, RecordBlock::kReport, report);
  ::close(fd);
  return is_claimed;
}

std::string FieldText(const char* field, std::size_t size) {
  return std::string(field, ::strnlen(field, size));
}

}  // namespace steadyrun::agent
