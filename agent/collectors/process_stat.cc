#include "agent/collectors/process_stat.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/file.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

template <typename T>
bool ParseNumber(std::string_view text, T* out) {
  const auto result =
      std::from_chars(text.data(), text.data() + text.size(), *out);
  return result.ec == std::errc{} && result.ptr == text.data() + text.size();
}

// The fields after the command, whose last ')' ends it whatever it holds.
std::vector<std::string_view> FieldsAfterCommand(std::string_view text) {
  std::vector<std::string_view> fields;
  const std::size_t end = text.rfind(')');
  if (end == std::string_view::npos) return fields;
  text.remove_prefix(end + 1);
  while (!text.empty()) {
    const std::size_t begin = text.find_first_not_of(" \n");
    if (begin == std::string_view::npos) break;
    text.remove_prefix(begin);
    const std::size_t size = std::min(text.find_first_of(" \n"), text.size());
    fields.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return fields;
}

}  // namespace

std::optional<ProcessStat> ParseProcessStat(std::string_view text,
                                            double ticks_per_second) {
  // Numbered as in proc(5), where the state is field 3.
  constexpr std::size_t kState = 0, kParent = 1, kGroup = 2, kSession = 3;
  constexpr std::size_t kUserTicks = 11, kSystemTicks = 12;
  constexpr std::size_t kThreads = 17, kStart = 19;

  ProcessStat stat;
  if (!ParseNumber(text.substr(0, text.find(' ')), &stat.pid)) return {};
  const auto fields = FieldsAfterCommand(text);
  if (fields.size() <= kStart || fields[kState].size() != 1) return {};
  stat.state = fields[kState][0];
  std::uint64_t user = 0;
  std::uint64_t system = 0;
  if (!ParseNumber(fields[kParent], &stat.parent) ||
      !ParseNumber(fields[kGroup], &stat.group) ||
      !ParseNumber(fields[kSession], &stat.session) ||
      !ParseNumber(fields[kUserTicks], &user) ||
      !ParseNumber(fields[kSystemTicks], &system) ||
      !ParseNumber(fields[kThreads], &stat.threads) ||
      !ParseNumber(fields[kStart], &stat.start_ticks)) {
    return {};
  }
  stat.cpu_seconds = static_cast<double>(user + system) / ticks_per_second;
  return stat;
}

ProcessTable::ProcessTable(std::string root)
    : root_(std::move(root)),
      ticks_per_second_(static_cast<double>(::sysconf(_SC_CLK_TCK))) {}

absl::StatusOr<ProcessStat> ProcessTable::Stat(std::int32_t pid) const {
  const std::string path = fmt::format("{}/{}/stat", root_, pid);
  auto text = ReadFile(path, 8192);
  if (!text.ok()) {
    return absl::NotFoundError(fmt::format("no process {}", pid));
  }
  auto stat = ParseProcessStat(*text, ticks_per_second_);
  if (!stat) {
    return absl::NotFoundError(
        fmt::format("cannot make sense of '{}': '{}'", path, *text));
  }
  return *stat;
}

std::string ProcessTable::WaitChannel(std::int32_t pid) const {
  auto text = ReadFile(fmt::format("{}/{}/wchan", root_, pid), 256);
  // "0" is what the kernel says when it is running or may not tell.
  if (!text.ok() || *text == "0") return "";
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return *std::move(text);
}

std::string ProcessTable::Environment(std::int32_t pid) const {
  auto text = ReadFile(fmt::format("{}/{}/environ", root_, pid), 1 << 20);
  return text.ok() ? *std::move(text) : "";
}

std::vector<std::int32_t> ProcessTable::Pids() const {
  std::vector<std::int32_t> pids;
  DIR* directory = ::opendir(root_.c_str());
  if (directory == nullptr) return pids;
  while (const dirent* entry = ::readdir(directory)) {
    std::int32_t pid = 0;
    if (ParseNumber(std::string_view(entry->d_name), &pid) && pid > 0) {
      pids.push_back(pid);
    }
  }
  ::closedir(directory);
  std::sort(pids.begin(), pids.end());
  return pids;
}

absl::StatusOr<std::string> ProcessTable::BootId() const {
  const std::string path = root_ + "/sys/kernel/random/boot_id";
  auto text = ReadFile(path, 256);
  if (!text.ok()) {
    return absl::UnavailableError(
        fmt::format("cannot learn the boot id: {}; is /proc mounted?",
                    std::string(text.status().message())));
  }
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return *std::move(text);
}

std::optional<std::string_view> FindVariable(std::string_view environment,
                                             std::string_view name) {
  while (!environment.empty()) {
    const std::size_t end =
        std::min(environment.find('\0'), environment.size());
    const std::string_view entry = environment.substr(0, end);
    if (entry.size() > name.size() && entry[name.size()] == '=' &&
        entry.substr(0, name.size()) == name) {
      return entry.substr(name.size() + 1);
    }
    environment.remove_prefix(std::min(end + 1, environment.size()));
  }
  return std::nullopt;
}

}  // namespace steadyrun::agent
