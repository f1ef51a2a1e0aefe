// steadyrun-shim DIRECTORY WORKING_DIRECTORY ARGV...
//
// The parent of one rank. It outlives the agent, so that the agent may die, be
// upgraded or hang while the training goes on, and the rank's exit status is
// still there afterwards; and it leaves nothing of the rank behind. It takes
// its environment on to the rank, writes the record (shim_record.h) and the
// rank's output files in DIRECTORY, and exits with the rank's exit code (128 +
// signal). It holds nothing of the agent: no pipe, no socket, no session.
//
// One thread, no allocation, no library: it must not fail.

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/supervisor/shim/children.h"
#include "agent/supervisor/shim/log_keeper.h"
#include "agent/supervisor/shim_record.h"

namespace steadyrun::agent {
namespace {

constexpr int kUsage = 64;
constexpr int kNoRecord = 74;
constexpr int kExecFailed = 127;
constexpr long kTickMs = 200;    // Between two looks at the logs.
constexpr long kReapMs = 5;      // Between two looks for descendants.
constexpr int kWriteTries = 50;  // Ten seconds; the space is allocated.

std::int64_t Nanoseconds(clockid_t clock) {
  timespec now;
  ::clock_gettime(clock, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

timespec Milliseconds(long ms) {
  return timespec{ms / 1000, (ms % 1000) * 1'000'000};
}

struct Shim {
  const char* working_directory = nullptr;
  char** argv = nullptr;
  int record = -1;
  LogKeeper out;
  LogKeeper err;
  sigset_t signals;
  pid_t rank = 0;
  IdentityRecord identity{};
  EndRecord end{};
  bool is_rank_gone = false;
  bool is_kill_due = false;
  std::int64_t kill_at = 0;  // CLOCK_MONOTONIC; 0: no grace runs.
};

template <typename T>
void WriteRecord(const Shim& shim, RecordBlock block, const T& record) {
  const RecordBytes bytes = EncodeRecord(block, record);
  const auto offset = static_cast<off_t>(block) * kRecordBlock;
  for (int i = 0; i < kWriteTries; ++i) {
    if (::pwrite(shim.record, &bytes, sizeof bytes, offset) ==
        static_cast<ssize_t>(sizeof bytes)) {
      return;
    }
    const timespec pace = Milliseconds(200);
    ::nanosleep(&pace, nullptr);
  }
}

// --- In the child, between fork and exec.

struct StartError {
  StartStage stage;
  int error;
};

[[noreturn]] void FailStart(int pipe, StartStage stage) {
  const StartError failure{stage, errno};
  // A pipe takes this little at once, or the parent is gone.
  if (::write(pipe, &failure, sizeof failure) < 0) ::_exit(kExecFailed);
  ::_exit(kExecFailed);
}

// What the agent has for itself must not make the kernel spare the rank when
// memory runs out.
void ResetOomScore() {
  const int fd = ::open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  char value[16] = {};
  if (::read(fd, value, sizeof value - 1) > 0 && value[0] == '-') {
    (void)!::pwrite(fd, "0", 1, 0);
  }
  ::close(fd);
}

[[noreturn]] void BecomeRank(const Shim& shim, pid_t parent, int pipe) {
  // The rank must not run on unnoticed when its shim is killed. If that
  // happened before this line, the parent is somebody else already.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kExecFailed);
  ::setpgid(0, 0);
  ResetOomScore();
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null >= 0) ::dup2(null, STDIN_FILENO);
  ::dup2(shim.out.fd(), STDOUT_FILENO);
  ::dup2(shim.err.fd(), STDERR_FILENO);
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (shim.working_directory[0] != '\0' &&
      ::chdir(shim.working_directory) != 0) {
    FailStart(pipe, StartStage::kDirectory);
  }
  ::execvp(shim.argv[0], shim.argv);
  FailStart(pipe, StartStage::kExec);
}

// --- In the shim.

void StartRank(Shim* shim) {
  IdentityRecord& identity = shim->identity;
  identity.shim_pid = ::getpid();
  identity.shim_start_ticks = StartTicks(identity.shim_pid);
  identity.lost_logs =
      (shim->out.is_lost() ? 1u : 0u) | (shim->err.is_lost() ? 2u : 0u);
  int pipe[2];
  const pid_t self = ::getpid();
  if (::pipe2(pipe, O_CLOEXEC) != 0 || (shim->rank = ::fork()) < 0) {
    identity.result = StartResult::kFailed;
    identity.stage = StartStage::kFork;
    identity.error = errno;
    return;
  }
  if (shim->rank == 0) BecomeRank(*shim, self, pipe[1]);
  ::close(pipe[1]);
  ::setpgid(shim->rank, shim->rank);
  identity.rank_pid = shim->rank;
  identity.rank_start_ticks = StartTicks(shim->rank);
  StartError failure{};
  ssize_t n = 0;
  do {
    n = ::read(pipe[0], &failure, sizeof failure);  // Ends with the exec.
  } while (n < 0 && errno == EINTR);
  ::close(pipe[0]);
  identity.result = StartResult::kStarted;
  if (n == static_cast<ssize_t>(sizeof failure)) {
    identity.result = StartResult::kFailed;
    identity.stage = failure.stage;
    identity.error = failure.error;
  }
}

void TakeOrder(Shim* shim, const siginfo_t& info) {
  const auto value = reinterpret_cast<std::uintptr_t>(info.si_value.sival_ptr);
  const bool is_order = info.si_signo == OrderSignal() &&
                        info.si_code == SI_QUEUE &&
                        (value & ~0xffffffffull) == kOrderTag;
  const std::int64_t grace =
      is_order ? static_cast<std::int64_t>(value & 0xffffffffu) : 0;
  if (shim->is_rank_gone) return;  // It ended by itself.
  // An order of the agent is never taken for somebody else's again.
  if (is_order) shim->end.was_ordered = 1;
  if (shim->end.ordered_by_pid == 0) shim->end.ordered_by_pid = info.si_pid;
  const std::int64_t at = Nanoseconds(CLOCK_MONOTONIC) + grace * 1'000'000;
  if (grace == 0) {
    shim->is_kill_due = true;
  } else if (shim->kill_at == 0 || at < shim->kill_at) {
    shim->kill_at = at;
    ::kill(-shim->rank, SIGTERM);
    ::kill(-shim->rank, SIGCONT);  // A stopped process cannot act on it.
  }
}

// The rank is unreaped, so neither its pid nor its group can be reused.
void KillRank(const Shim& shim) {
  ::kill(shim.rank, SIGKILL);
  ::kill(-shim.rank, SIGKILL);
}

// True while there are children.
bool Reap(Shim* shim) {
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0) {
      return errno != ECHILD;
    }
    if (info.si_pid == 0) return true;
    int status = 0;
    if (info.si_pid == shim->rank && !shim->is_rank_gone) {
      ::kill(-shim->rank, SIGKILL);  // Before the number is free again.
      shim->end.ended_unix_ns = Nanoseconds(CLOCK_REALTIME);
      shim->end.ended_mono_ns =
          static_cast<std::uint64_t>(Nanoseconds(CLOCK_MONOTONIC));
      ::waitpid(shim->rank, &status, 0);
      shim->end.wait_status = status;
      // Told to die at once and ended otherwise: it had been quicker.
      const bool is_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
      if (shim->kill_at == 0 && !is_killed) shim->end.was_ordered = 0;
      shim->is_rank_gone = true;
      WriteRecord(*shim, RecordBlock::kEnd, shim->end);
    } else {
      ::waitpid(info.si_pid, &status, 0);
    }
  }
}

void WaitForSignal(Shim* shim, long ms) {
  const timespec timeout = Milliseconds(ms);
  siginfo_t info{};
  const int signal = ::sigtimedwait(&shim->signals, &info, &timeout);
  if (signal == SIGTERM || signal == OrderSignal()) TakeOrder(shim, info);
}

long UntilNextLook(const Shim& shim) {
  if (shim.kill_at == 0) return kTickMs;
  const std::int64_t left =
      (shim.kill_at - Nanoseconds(CLOCK_MONOTONIC)) / 1'000'000;
  if (left < 1) return 1;
  return left < kTickMs ? static_cast<long>(left) : kTickMs;
}

void Supervise(Shim* shim) {
  while (!shim->is_rank_gone) {
    if (shim->kill_at != 0 && Nanoseconds(CLOCK_MONOTONIC) >= shim->kill_at) {
      shim->is_kill_due = true;
    }
    if (shim->is_kill_due) KillRank(*shim);
    Reap(shim);
    if (shim->is_rank_gone) break;
    WaitForSignal(shim, UntilNextLook(*shim));
    shim->out.Tick();
    shim->err.Tick();
  }
  // Whatever the rank left behind, until there is nothing. A process that the
  // kernel cannot end (state D) keeps the shim here: nobody may believe that
  // the rank is gone.
  while (Reap(shim)) {
    shim->end.killed += static_cast<std::uint32_t>(KillChildren());
    WaitForSignal(shim, kReapMs);
  }
  shim->out.Close();
  shim->err.Close();
  shim->end.all_gone = 1;
  WriteRecord(*shim, RecordBlock::kEnd, shim->end);
}

int OpenRecord(const char* directory) {
  char path[PATH_MAX];
  ::snprintf(path, sizeof path, "%s/record", directory);
  return ::open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
}

// The record is ours alone from now on. False if an agent has given this rank
// up in the meantime, having found no trace of us.
bool TakeRecord(int record) {
  RecordBytes bytes;
  ReportRecord report{};
  int locked = 0;
  do {
    locked = ::flock(record, LOCK_EX);  // An agent holds it for a moment.
  } while (locked != 0 && errno == EINTR);
  const auto offset = static_cast<off_t>(RecordBlock::kReport) * kRecordBlock;
  if (locked != 0 || ::pread(record, &bytes, sizeof bytes, offset) !=
                         static_cast<ssize_t>(sizeof bytes)) {
    return false;
  }
  return !DecodeRecord(RecordBlock::kReport, bytes, &report) ||
         report.is_gone == 0;
}

void OpenLog(LogKeeper* log, const char* directory, const char* name) {
  char path[PATH_MAX];
  ::snprintf(path, sizeof path, "%s/%s", directory, name);
  log->Open(path);
}

// Nothing of the agent: descriptors, terminal, working directory, signals.
void LeaveTheAgent() {
  ::setsid();  // Fails if the agent started us as a leader already.
  if (::syscall(SYS_close_range, 3u, ~0u, 0u) != 0) {
    for (int fd = 3; fd < 4096; ++fd) ::close(fd);
  }
  const int null = ::open("/dev/null", O_RDWR);
  for (int fd = 0; fd <= 2 && null >= 0; ++fd) ::dup2(null, fd);
  if (null > 2) ::close(null);
  sigset_t all;
  ::sigfillset(&all);  // Ignored for good, but those waited for.
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::signal(SIGCHLD, SIG_DFL);  // Inherited SIG_IGN would hide exit statuses.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::prctl(PR_SET_PDEATHSIG, 0);
}

int ExitCode(int wait_status) {
  if (WIFSIGNALED(wait_status)) return 128 + WTERMSIG(wait_status);
  return WEXITSTATUS(wait_status);
}

int Main(int argc, char** argv) {
  if (argc < 4) {
    ::fputs(
        "usage: steadyrun-shim DIRECTORY WORKING_DIRECTORY ARGV...\n"
        "Started by steadyrun-agent, as the parent of one rank.\n",
        stderr);
    return kUsage;
  }
  LeaveTheAgent();
  Shim shim;
  shim.working_directory = argv[2];
  shim.argv = argv + 3;
  ::sigemptyset(&shim.signals);
  ::sigaddset(&shim.signals, SIGCHLD);
  ::sigaddset(&shim.signals, SIGTERM);
  ::sigaddset(&shim.signals, OrderSignal());
  shim.record = OpenRecord(argv[1]);
  if (shim.record < 0 || !TakeRecord(shim.record)) return kNoRecord;
  OpenLog(&shim.out, argv[1], "stdout.log");
  OpenLog(&shim.err, argv[1], "stderr.log");
  StartRank(&shim);
  WriteRecord(shim, RecordBlock::kIdentity, shim.identity);
  if (shim.rank <= 0) return kExecFailed;
  (void)!::chdir("/");  // Holds no file system that somebody unmounts.
  Supervise(&shim);
  return ExitCode(shim.end.wait_status);
}

}  // namespace
}  // namespace steadyrun::agent

int main(int argc, char** argv) { return steadyrun::agent::Main(argc, argv); }
