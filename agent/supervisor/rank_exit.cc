#include "agent/supervisor/rank_exit.h"

#include <signal.h>
#include <sys/wait.h>

#include <cstring>

#include "agent/recorder/rank_recorder.h"
#include "agent/supervisor/exit_evidence.h"
#include "agent/supervisor/rank_record.h"
#include "base/file.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

// Several tracebacks fit; more would be a flood that explains nothing.
constexpr std::size_t kTailBytes = 64 * 1024;
// What the shim exits with when the rank died of a signal.
constexpr int kSignalBase = 128;

ExitStatus FromWaitStatus(int status) {
  ExitStatus exit;
  if (WIFSIGNALED(status)) {
    exit.signal = WTERMSIG(status);
  } else {
    exit.code = WEXITSTATUS(status);
  }
  return exit;
}

ExitStatus FromShimExit(int status) {
  ExitStatus exit = FromWaitStatus(status);
  if (exit.signal == 0 && exit.code > kSignalBase && exit.code < 200) {
    exit.signal = exit.code - kSignalBase;
    exit.code = 0;
  }
  return exit;
}

std::string ReadTail(const RankFiles& files) {
  auto tail = ReadFileTail(files.stderr_path, kTailBytes);
  if (tail.ok() && !tail->empty()) return *std::move(tail);
  tail = ReadFileTail(files.stdout_path, kTailBytes);
  return tail.ok() ? *std::move(tail) : "";
}

// Step and phase at the end, from the recorder that outlives the rank.
void AddLastProgress(const TrackedRank& rank, RankExited* exited) {
  RecorderSpec spec;
  spec.run = rank.key.run;
  spec.attempt = rank.key.attempt;
  spec.rank = rank.key.rank;
  auto recorder = RankRecorder::Open(rank.recorder_path, spec);
  if (!recorder.ok()) return;
  recorder->Read();
  const RankState state = recorder->Observe(MonoTime{});
  exited->step = state.step;
  exited->phase = state.phase;
}

}  // namespace

std::string DescribeStartFailure(const IdentityRecord& identity,
                                 const std::string& program,
                                 const std::string& working_directory) {
  if (identity.result != StartResult::kFailed) return "";
  const char* reason = std::strerror(identity.error);
  switch (identity.stage) {
    case StartStage::kFork:
      return fmt::format("cannot make a process: {}", reason);
    case StartStage::kDirectory:
      return fmt::format("cannot enter the working directory '{}': {}",
                         working_directory, reason);
    case StartStage::kExec:
      return fmt::format(
          "cannot execute '{}': {}; it must exist on this node, with the PATH "
          "of the agent or of the Start command",
          program, reason);
    case StartStage::kNone:
      break;
  }
  return fmt::format("cannot start: {}", reason);
}

ExitStatus ReadRankExit(const TrackedRank& rank, bool* was_ordered) {
  *was_ordered = rank.order.has_value();
  if (const auto end = ReadEnd(rank.files.record)) {
    *was_ordered = end->was_ordered != 0;
    const ExitStatus exit = FromWaitStatus(end->wait_status);
    // Killed one by one when the shim did not act on the order.
    if (rank.order && rank.order->first_kill && exit.signal == SIGKILL) {
      *was_ordered = true;
    }
    return exit;
  }
  if (rank.shim_wait_status) return FromShimExit(*rank.shim_wait_status);
  ExitStatus exit;
  exit.signal = SIGKILL;  // The rank is bound to die with its shim.
  return exit;
}

RankExited MakeRankExited(const TrackedRank& rank, WallTime now) {
  RankExited exited;
  exited.run = rank.key.run;
  exited.attempt = rank.key.attempt;
  exited.rank = rank.key.rank;
  exited.exit = rank.exit;
  exited.killed_by_agent = rank.was_killed;
  exited.exit_unix_ms = ToUnixMillis(now);
  const auto end = ReadEnd(rank.files.record);
  if (end) exited.exit_unix_ms = end->ended_unix_ns / 1'000'000;
  AddLastProgress(rank, &exited);

  ExitEvidence evidence = ReadExitEvidence(ReadTail(rank.files), rank.exit);
  exited.error = std::move(evidence.error);
  exited.last_log_lines = std::move(evidence.last_lines);
  exited.is_secondary = evidence.is_secondary;
  exited.signature = std::move(evidence.signature);
  if (!end && !rank.was_killed) {
    exited.error = fmt::format(
        "its parent, the shim {}, was killed; the rank was ended with it",
        rank.shim_pid);
    exited.signature = "shim killed";
    exited.is_secondary = false;
  } else if (end && end->ordered_by_pid != 0 && end->was_ordered == 0 &&
             exited.exit.signal == SIGKILL) {
    exited.error = fmt::format("ended by SIGTERM to its shim from process {}",
                               end->ordered_by_pid);
  }
  return exited;
}

}  // namespace steadyrun::agent
