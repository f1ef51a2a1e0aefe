#include "agent/supervisor/shim_spawn.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>

#include <cstring>

#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

std::vector<char*> Pointers(std::vector<std::string>* texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts->size() + 1);
  for (std::string& text : *texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

bool HasZero(const std::vector<std::string>& texts) {
  for (const std::string& text : texts) {
    if (text.find('\0') != std::string::npos) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<std::int32_t> SpawnShim(const ShimStart& start) {
  if (start.argv.empty() || start.argv[0].empty()) {
    return absl::InvalidArgumentError("the Start command has no program");
  }
  std::vector<std::string> arguments = {start.shim_path, start.directory,
                                        start.working_directory};
  arguments.insert(arguments.end(), start.argv.begin(), start.argv.end());
  std::vector<std::string> variables;
  for (const auto& [name, value] : start.environment) {
    variables.push_back(name + "=" + value);
  }
  if (HasZero(arguments) || HasZero(variables)) {
    return absl::InvalidArgumentError(
        "the Start command has a zero byte in its arguments or environment");
  }
  auto argv = Pointers(&arguments);
  auto envp = Pointers(&variables);

  sigset_t all;
  ::sigfillset(&all);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setsigmask(&attributes, &all);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID |
                                              POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, start.shim_path.c_str(), nullptr,
                                  &attributes, argv.data(), envp.data());
  ::posix_spawnattr_destroy(&attributes);
  if (error == 0) return pid;
  const auto text = fmt::format("cannot start '{}': {}", start.shim_path,
                                std::strerror(error));
  if (error == EAGAIN || error == ENOMEM) {
    return absl::ResourceExhaustedError(text);
  }
  if (error == E2BIG) {
    return absl::InvalidArgumentError(
        text + "; make the command's arguments and environment shorter");
  }
  return absl::UnavailableError(text);
}

}  // namespace steadyrun::agent
