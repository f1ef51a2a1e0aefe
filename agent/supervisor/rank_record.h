#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/supervisor/shim_record.h"
#include "agent/supervisor/supervisor.h"

namespace steadyrun::agent {

// The rank files of a node: <state directory>/ranks/r-<run>/attempt-<n>/
// rank-<r>/{record,stdout.log,stderr.log}. "r-" keeps a run named ".." inside.
class RankStore {
 public:
  explicit RankStore(std::string state_directory);

  RankFiles FilesOf(const RankKey& key) const;
  std::string RunDirectory(const RunId& run) const;
  // Makes the directory and an allocated record that holds `launch`.
  // ALREADY_EXISTS if there is one; RESOURCE_EXHAUSTED if there is no space.
  absl::Status Create(const RankKey& key, const LaunchRecord& launch) const;
  // Every rank that has a directory, ordered by key.
  std::vector<RankKey> List() const;
  void RemoveRank(const RankKey& key) const;
  void RemoveRunIfEmpty(const RunId& run, AttemptId attempt) const;

 private:
  std::string root_;
};

// Absent if the block was never written, or is torn or damaged.
std::optional<LaunchRecord> ReadLaunch(const std::string& record);
std::optional<IdentityRecord> ReadIdentity(const std::string& record);
std::optional<EndRecord> ReadEnd(const std::string& record);
ReportRecord ReadReport(const std::string& record);
absl::Status WriteReport(const std::string& record, const ReportRecord& report);

// Marks a rank as gone whose shim never said a word, unless a shim holds the
// record: it locks the record when it starts and does not start what is marked
// as gone. Without this, a shim that an agent's death left between fork and
// exec could start a rank after its end was told. False if a shim holds it.
bool ClaimUnstarted(const std::string& record, const ReportRecord& report);

// Text of a fixed field, up to its first zero.
std::string FieldText(const char* field, std::size_t size);

}  // namespace steadyrun::agent
