#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

// Names of named metrics as small numbers, so that a step row does not repeat
// them. A cache over the table metric_names; not thread-safe.
class MetricNames {
 public:
  // The id of `name`, given one if it is new. NOT_FOUND beyond kMaxNames: a
  // program that makes up names without end does not get to fill the disk.
  absl::StatusOr<std::uint32_t> Intern(std::string_view name,
                                       Database& database);
  // The id, or none if it was never stored.
  absl::StatusOr<std::optional<std::uint32_t>> Find(std::string_view name,
                                                    Database& database);
  absl::StatusOr<std::string> NameOf(std::uint32_t id, Database& database);
  // After a rollback: ids given in it do not exist.
  void Forget();

  static constexpr std::size_t kMaxNames = 65'536;

 private:
  std::map<std::string, std::uint32_t, std::less<>> ids_;
  std::map<std::uint32_t, std::string> names_;
};

}  // namespace steadyrun
