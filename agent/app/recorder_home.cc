#include "agent/app/recorder_home.h"

#include <charconv>
#include <filesystem>
#include <system_error>

#include "base/file.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

namespace fs = std::filesystem;

constexpr char kOwner[] = "owner";

void RemoveOrphans(const std::string& root, const std::string& state_directory,
                   const std::string& own) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root, error)) {
    if (entry.path() == own) continue;
    const auto owner = ReadFile((entry.path() / kOwner).string(), 4096);
    if (!owner.ok()) continue;
    std::error_code ignored;
    // Of a directory that is gone, or of an identity that ours has lost.
    if (*owner == state_directory || !fs::exists(*owner, ignored)) {
      fs::remove_all(entry.path(), ignored);
    }
  }
}

// The attempt in "<attempt>-<rank>.recorder"; 0 if it is no such name.
std::int64_t AttemptOf(const std::string& name) {
  std::int64_t attempt = 0;
  std::from_chars(name.data(), name.data() + name.size(), attempt);
  return attempt;
}

}  // namespace

RecorderHome::RecorderHome(const std::string& root,
                           const std::string& state_directory,
                           const std::string& state_uuid) {
  if (!root.empty()) {
    const std::string own = root + "/" + state_uuid;
    // Of this user alone; in a directory where everybody may write.
    if (MakeDirectories(own, 0700).ok() &&
        WriteFileAtomically(own + "/" + kOwner, state_directory, 0600).ok()) {
      folders_.push_back(own);
      RemoveOrphans(root, state_directory, own);
    }
  }
  const std::string beside = state_directory + "/recorders";
  if (MakeDirectories(beside, 0700).ok()) folders_.push_back(beside);
}

std::vector<std::string> RecorderHome::Prepare(const RunId& run,
                                               AttemptId attempt,
                                               Rank rank) const {
  std::vector<std::string> paths;
  for (const std::string& folder : folders_) {
    const std::string of_run = folder + "/" + run;
    const std::string name =
        fmt::format("{}-{}.recorder", attempt.value, rank.value);
    if (!MakeDirectories(of_run, 0700).ok()) continue;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(of_run, error)) {
      const std::string file = entry.path().filename().string();
      std::error_code ignored;
      if (AttemptOf(file) < attempt.value || file.starts_with(name)) {
        fs::remove(entry.path(), ignored);
      }
    }
    paths.push_back(of_run + "/" + name);
  }
  return paths;
}

void RecorderHome::RemoveRun(const RunId& run) const {
  for (const std::string& folder : folders_) {
    std::error_code ignored;
    fs::remove_all(folder + "/" + run, ignored);
  }
}

}  // namespace steadyrun::agent
