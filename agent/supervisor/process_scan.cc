#include "agent/supervisor/process_scan.h"

#include <unistd.h>

#include <charconv>
#include <optional>
#include <string_view>

#include "agent/recorder/environment.h"

namespace steadyrun::agent {
namespace {

constexpr std::int32_t kKernelThreads = 2;  // kthreadd

std::optional<std::int64_t> Number(std::optional<std::string_view> text) {
  std::int64_t number = 0;
  if (!text) return std::nullopt;
  const auto [end, error] =
      std::from_chars(text->data(), text->data() + text->size(), number);
  if (error != std::errc{} || end != text->data() + text->size()) {
    return std::nullopt;
  }
  return number;
}

std::optional<MarkedProcess> ByEnvironment(std::string_view environment,
                                           const ScanInput& input) {
  const auto uuid = FindVariable(environment, SRUN_ENV_STATE_UUID);
  const auto directory = FindVariable(environment, SRUN_ENV_STATE_DIR);
  if (!uuid) return std::nullopt;
  const bool is_ours = *uuid == input.state_uuid;
  if (!is_ours && directory != input.state_directory) return std::nullopt;
  const auto run = FindVariable(environment, SRUN_ENV_RUN_ID);
  const auto attempt = Number(FindVariable(environment, SRUN_ENV_ATTEMPT));
  const auto rank = Number(FindVariable(environment, SRUN_ENV_RANK));
  if (!run || !attempt || !rank) return std::nullopt;
  MarkedProcess process;
  process.key = {RunId(*run), AttemptId{*attempt},
                 Rank{static_cast<std::int32_t>(*rank)}};
  process.is_leftover = !is_ours;
  return process;
}

std::optional<MarkedProcess> BySession(const ProcessStat& stat,
                                       const ScanInput& input) {
  const auto session = input.sessions.find(stat.session);
  if (session == input.sessions.end()) return std::nullopt;
  // A leader that is not the shim means that the number was reused, which the
  // kernel does only when the old session has no member any more.
  const bool is_leader = stat.pid == stat.session;
  const std::uint64_t begin = session->second.shim_start_ticks;
  if (stat.start_ticks < begin || (is_leader && stat.start_ticks != begin)) {
    return std::nullopt;
  }
  MarkedProcess process;
  process.key = session->second.key;
  return process;
}

// Sessions whose number now belongs to somebody else.
void DropReusedSessions(const ProcessTable& table, ScanInput* input) {
  std::erase_if(input->sessions, [&](const auto& entry) {
    const auto leader = table.Stat(entry.first);
    return leader.ok() && leader->start_ticks != entry.second.shim_start_ticks;
  });
}

}  // namespace

std::vector<MarkedProcess> FindMarkedProcesses(const ProcessTable& table,
                                               const ScanInput& input) {
  ScanInput checked = input;
  DropReusedSessions(table, &checked);
  std::vector<MarkedProcess> found;
  const std::int32_t self = ::getpid();
  for (const std::int32_t pid : table.Pids()) {
    if (pid <= kKernelThreads || pid == self) continue;
    const auto stat = table.Stat(pid);
    if (!stat.ok() || stat->IsDead() || stat->parent == kKernelThreads) {
      continue;
    }
    auto process = BySession(*stat, checked);
    if (!process) process = ByEnvironment(table.Environment(pid), checked);
    if (!process) continue;
    process->stat = *stat;
    found.push_back(*std::move(process));
  }
  return found;
}

}  // namespace steadyrun::agent
