#include "server/storage/metric_names.h"

#include "spdlog/fmt/fmt.h"

namespace steadyrun {

absl::StatusOr<std::optional<std::uint32_t>> MetricNames::Find(
    std::string_view name, Database& database) {
  if (const auto found = ids_.find(name); found != ids_.end()) {
    return std::optional(found->second);
  }
  std::optional<std::uint32_t> id;
  RETURN_IF_ERROR(database.Query(
      "SELECT id FROM metric_names WHERE name = ?",
      [&](const Row& row) {
        id = static_cast<std::uint32_t>(row.Int(0));
        return absl::OkStatus();
      },
      name));
  if (id) ids_.emplace(name, *id);
  return id;
}

absl::StatusOr<std::uint32_t> MetricNames::Intern(std::string_view name,
                                                  Database& database) {
  ASSIGN_OR_RETURN(std::optional<std::uint32_t> id, Find(name, database));
  if (id) return *id;
  RETURN_IF_ERROR(
      database.Run("INSERT INTO metric_names (id, name)"
                   " SELECT coalesce(max(id), 0) + 1, ?1 FROM metric_names"
                   " HAVING coalesce(max(id), 0) < ?2",
                   name, kMaxNames));
  ASSIGN_OR_RETURN(id, Find(name, database));
  if (id) return *id;
  return absl::NotFoundError(
      fmt::format("metric '{}' is not stored: there are {} names already", name,
                  kMaxNames));
}

absl::StatusOr<std::string> MetricNames::NameOf(std::uint32_t id,
                                                Database& database) {
  if (const auto found = names_.find(id); found != names_.end()) {
    return found->second;
  }
  std::string name;
  RETURN_IF_ERROR(database.Query(
      "SELECT name FROM metric_names WHERE id = ?",
      [&](const Row& row) {
        name = row.Text(0);
        return absl::OkStatus();
      },
      id));
  if (name.empty()) {
    return absl::DataLossError(
        fmt::format("'{}' has no metric name {}", database.path(), id));
  }
  names_.emplace(id, name);
  return name;
}

void MetricNames::Forget() {
  ids_.clear();
  names_.clear();
}

}  // namespace steadyrun
