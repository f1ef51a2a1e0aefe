#include "agent/checkpoints/shards.h"

#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>

#include "base/digest.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

namespace fs = std::filesystem;

// A checkpoint of more files than this in one rank's part is a mistake.
constexpr std::size_t kMaxFiles = 10'000;

absl::StatusOr<std::vector<std::string>> FilesUnder(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::recursive_directory_iterator it(path, error), end;
       !error && it != end; it.increment(error)) {
    if (!it->is_regular_file(error)) continue;
    names.push_back(it->path().lexically_relative(path).string());
    if (names.size() > kMaxFiles) {
      return absl::ResourceExhaustedError(
          fmt::format("'{}' holds more than {} files", path, kMaxFiles));
    }
  }
  if (error) {
    return absl::UnavailableError(
        fmt::format("cannot list '{}': {}", path, error.message()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<FileDigest> DigestDirectory(const std::string& path) {
  auto names = FilesUnder(path);
  if (!names.ok()) return names.status();
  FileDigest total;
  std::string listing;
  for (const std::string& name : *names) {
    auto digest = Sha256File(path + "/" + name);
    if (!digest.ok()) return digest.status();
    total.size_bytes += digest->size_bytes;
    // A zero cannot be in a name, so no two trees have one listing.
    listing += fmt::format("{}{}{} {}\n", name, '\0', digest->size_bytes,
                           digest->sha256);
  }
  total.sha256 = Sha256Hex(listing);
  return total;
}

absl::StatusOr<FileDigest> DigestPath(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return DigestDirectory(path);
  return Sha256File(path);
}

// What tells cheaply that bytes may have changed. Of a directory, the stamps
// of all its files.
std::string StampOfFile(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return "absent";
  return fmt::format("{}:{}.{:09}:{}.{:09}:{}", info.st_size,
                     info.st_mtim.tv_sec, info.st_mtim.tv_nsec,
                     info.st_ctim.tv_sec, info.st_ctim.tv_nsec, info.st_ino);
}

std::string Stamp(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return StampOfFile(path);
  auto names = FilesUnder(path);
  if (!names.ok()) return "unreadable";
  std::string stamps;
  for (const std::string& name : *names) {
    stamps += name + '\0' + StampOfFile(path + "/" + name) + '\n';
  }
  return Sha256Hex(stamps);
}

// Nobody has written the file for a while; it is not being written over now.
bool IsQuiet(const std::string& path) {
  constexpr std::int64_t kQuietSeconds = 2;
  struct stat info {};
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
         now.tv_sec - info.st_mtim.tv_sec > kQuietSeconds;
}

// Empty if the bytes at the path are those that were recorded.
std::string CheckPath(const std::string& path, std::int64_t size_bytes,
                      const std::string& sha256) {
  auto digest = DigestPath(path);
  if (!digest.ok()) return std::string(digest.status().message());
  if (digest->size_bytes != size_bytes) {
    return fmt::format("'{}' has {} bytes, expected {}", path,
                       digest->size_bytes, size_bytes);
  }
  if (digest->sha256 != sha256) {
    return fmt::format("'{}' has sha256 {}, expected {}", path, digest->sha256,
                       sha256);
  }
  return "";
}

}  // namespace

ShardHashed HashShard(CheckpointShard shard) {
  auto digest = DigestPath(shard.path);
  if (digest.ok()) {
    shard.size_bytes = digest->size_bytes;
    shard.sha256 = digest->sha256;
    shard.error.clear();
  } else {
    shard.error = std::string(digest.status().message());
  }
  return ShardHashed{std::move(shard)};
}

ShardsVerified RunVerifyShards(const VerifyShards& order) {
  ShardsVerified answer;
  answer.command_id = order.command_id;
  answer.run = order.run;
  answer.attempt = order.attempt;
  for (const ShardRef& shard : order.verify.shards) {
    ShardCheck check;
    check.rank = shard.rank;
    check.path = shard.path;
    check.error = CheckPath(shard.path, shard.size_bytes, shard.sha256);
    check.ok = check.error.empty();
    answer.checks.push_back(std::move(check));
  }
  return answer;
}

void ShardWatch::Add(const CheckpointShard& shard) {
  if (!shard.error.empty() || shard.sha256.empty()) return;
  std::erase_if(shards_, [&](const auto& entry) {
    return entry.second.shard.path == shard.path;
  });
  // No stamp yet: the first pass hashes once more, so that a change since the
  // report cannot hide.
  shards_[{shard.run, {shard.attempt, shard.step}, shard.rank, shard.path}] = {
      shard, "", ""};
  std::set<Age> ages;
  for (const auto& [key, watched] : shards_) {
    if (std::get<0>(key) == shard.run) ages.insert(std::get<1>(key));
  }
  while (ages.size() > steps_kept_) {
    const Age oldest = *ages.begin();
    ages.erase(ages.begin());
    std::erase_if(shards_, [&](const auto& entry) {
      return std::get<0>(entry.first) == shard.run &&
             std::get<1>(entry.first) == oldest;
    });
  }
}

void ShardWatch::Forget(const RunId& run) {
  std::erase_if(shards_, [&](const auto& entry) {
    return std::get<0>(entry.first) == run;
  });
}

std::optional<ShardWatch::Age> ShardWatch::NewestOf(const RunId& run) const {
  std::optional<Age> newest;
  for (const auto& [key, watched] : shards_) {
    if (std::get<0>(key) == run) newest = std::get<1>(key);
  }
  return newest;
}

std::vector<ShardFoundBad> ShardWatch::Check() {
  std::vector<ShardFoundBad> bad;
  for (auto it = shards_.begin(); it != shards_.end();) {
    Watched& watched = it->second;
    const CheckpointShard& shard = watched.shard;
    const std::string stamp = Stamp(shard.path);
    const bool is_settled = stamp == std::exchange(watched.last_stamp, stamp) ||
                            IsQuiet(shard.path);
    if (stamp == watched.good_stamp || !is_settled) {
      ++it;
      continue;
    }
    std::error_code ignored;
    if (!fs::exists(shard.path, ignored) &&
        NewestOf(shard.run) != std::get<1>(it->first)) {
      it = shards_.erase(it);
      continue;
    }
    std::string error = CheckPath(shard.path, shard.size_bytes, shard.sha256);
    if (error.empty()) {
      watched.good_stamp = stamp;
      ++it;
      continue;
    }
    bad.push_back(ShardFoundBad{{shard.run, shard.attempt, shard.step,
                                 shard.rank, shard.path, std::move(error)}});
    it = shards_.erase(it);
  }
  return bad;
}

}  // namespace steadyrun::agent
