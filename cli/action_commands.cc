#include <pwd.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <thread>

#include "base/digest.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "cli/commands.h"
#include "cli/proto_json.h"
#include "cli/run_text.h"
#include "cli/table.h"
#include "proto/messages/log_format.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::cli {
namespace {

std::string Actor() {
  if (const char* name = std::getenv("STEADYRUN_ACTOR")) return name;
  const passwd* user = ::getpwuid(::geteuid());
  char host[256] = "";
  ::gethostname(host, sizeof(host) - 1);
  return fmt::format("{}@{}", user != nullptr ? user->pw_name : "unknown",
                     host);
}

// A person at a terminal is asked; a script must say it.
absl::StatusOr<std::string> Reason(const std::string& given) {
  if (!given.empty()) return given;
  if (::isatty(STDIN_FILENO) == 1) {
    std::fputs("Reason (kept in the audit table): ", stderr);
    std::string line;
    if (std::getline(std::cin, line) && !line.empty()) return line;
  }
  return absl::InvalidArgumentError(
      "an action needs a reason: --reason 'why this is done'");
}

void PrintReply(const Context& context, const v1::ActionReply& reply) {
  if (context.output == Output::kJson) {
    std::puts(ToJson(reply).dump(2).c_str());
    return;
  }
  std::puts(
      fmt::format("{}{}", Printable(reply.message()),
                  reply.duplicate() ? " (had been carried out before)" : "")
          .c_str());
}

// Whether what `options` asked for shows in the run. Actions on nodes take
// effect at once.
bool HasTakenEffect(const ActionOptions& options, const v1::ActionReply& reply,
                    const v1::RunView& run) {
  switch (options.action) {
    case v1::ACTION_CHECKPOINT:
      return run.checkpoint_step() >= reply.step();
    case v1::ACTION_PAUSE:
      return run.phase() == "paused";
    case v1::ACTION_STOP:
      return run.phase() == "stopped";
    case v1::ACTION_RESUME:
    case v1::ACTION_RESTART:
    case v1::ACTION_ROLLBACK:
      return run.phase() == "running" && run.attempt() >= reply.attempt();
    default:
      return true;
  }
}

absl::Status WaitForEffect(Context& context, const ActionOptions& options,
                           const v1::ActionReply& reply) {
  using std::chrono::steady_clock;
  const auto deadline = steady_clock::now() + std::chrono::minutes(10);
  v1::GetRunRequest request;
  request.set_run(options.run);
  v1::RunView run;
  while (steady_clock::now() < deadline) {
    RETURN_IF_ERROR(
        context.client.Call(&v1::OperatorService::Stub::GetRun, request, &run));
    if (HasTakenEffect(options, reply, run)) {
      std::fprintf(stderr, "%s\n", RenderProgressLine(run).c_str());
      return absl::OkStatus();
    }
    if (run.phase() == "halted" || (IsEnded(run))) {
      return absl::FailedPreconditionError(
          fmt::format("the run is {}: {}", run.phase(), run.phase_reason()));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  return absl::DeadlineExceededError(
      fmt::format("no effect within 10 minutes; the run is {}: {}", run.phase(),
                  run.phase_reason()));
}

absl::Status FollowUntilEnd(Context& context, const std::string& name) {
  v1::GetRunRequest request;
  request.set_run(name);
  std::string last;
  for (;;) {
    v1::RunView run;
    RETURN_IF_ERROR(
        context.client.Call(&v1::OperatorService::Stub::GetRun, request, &run));
    if (std::string line = RenderProgressLine(run); line != last) {
      std::puts(line.c_str());
      std::fflush(stdout);
      last = std::move(line);
    }
    if (run.phase() == "completed") return absl::OkStatus();
    if (run.phase() == "stopped" || run.phase() == "halted") {
      return absl::AbortedError(
          fmt::format("the run is {}: {}", run.phase(), run.phase_reason()));
    }
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

}  // namespace

absl::Status Act(Context& context, const ActionOptions& options) {
  v1::ActionRequest request;
  request.set_request_id(options.request_id.empty() ? RandomHex64()
                                                    : options.request_id);
  request.set_actor(Actor());
  request.set_run(options.run);
  request.set_action(options.action);
  ASSIGN_OR_RETURN(*request.mutable_reason(), Reason(options.reason));
  request.set_step(options.step);
  request.set_node(options.node);
  request.set_mute_seconds(options.mute_seconds);
  v1::ActionReply reply;
  RETURN_IF_ERROR(
      context.client.Call(&v1::OperatorService::Stub::Act, request, &reply));
  PrintReply(context, reply);
  if (!options.wait) return absl::OkStatus();
  return WaitForEffect(context, options, reply);
}

absl::Status Launch(Context& context, LaunchOptions options) {
  if (!options.policy_file.empty()) {
    ASSIGN_OR_RETURN(*options.spec.mutable_policy_toml(),
                     ReadFile(options.policy_file, 1 << 20));
    options.spec.set_policy_file(options.policy_file);
  }
  for (const std::string& entry : options.environment) {
    const auto equals = entry.find('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(
          fmt::format("--env '{}': expected NAME=value", entry));
    }
    (*options.spec.mutable_environment())[entry.substr(0, equals)] =
        entry.substr(equals + 1);
  }
  std::error_code error;
  if (options.spec.working_directory().empty()) {
    options.spec.set_working_directory(
        std::filesystem::current_path(error).string());
  }
  if (options.spec.checkpoint_directory().empty()) {
    options.spec.set_checkpoint_directory(options.spec.working_directory() +
                                          "/checkpoints/" + options.spec.run());
  }
  options.spec.set_checkpoint_directory(
      std::filesystem::absolute(options.spec.checkpoint_directory(), error)
          .lexically_normal()
          .string());
  if (!options.spec.log_path().empty()) {
    const std::filesystem::path ranks_directory(
        options.spec.working_directory());
    options.spec.set_log_path((ranks_directory / options.spec.log_path())
                                  .lexically_normal()
                                  .string());
  }
  RETURN_IF_ERROR(
      CheckLogSource(options.spec.log_format(), options.spec.log_path()));
  v1::LaunchRequest request;
  request.set_request_id(options.request_id.empty() ? RandomHex64()
                                                    : options.request_id);
  request.set_actor(Actor());
  *request.mutable_spec() = options.spec;
  v1::ActionReply reply;
  RETURN_IF_ERROR(
      context.client.Call(&v1::OperatorService::Stub::Launch, request, &reply));
  PrintReply(context, reply);
  if (!options.follow) return absl::OkStatus();
  return FollowUntilEnd(context, options.spec.run());
}

}  // namespace steadyrun::cli
