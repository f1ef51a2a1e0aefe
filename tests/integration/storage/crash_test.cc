// Kill -9, many times: what a writer was told is committed is there.
//
// A child process writes numbered transactions and tells each one after Apply
// has returned OK; it is killed at a random moment; the next child goes on in
// the same directory. Power loss is not what this tests.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>

#include "tests/integration/storage/fixture.h"

namespace steadyrun {
namespace {

constexpr int kKills = 30;

std::vector<Change> Batch(std::int64_t n) {
  RunState run = MakeRun("r");
  run.max_step = Step{n};
  Incident incident;
  incident.run = "r";
  incident.number = 1;
  incident.steps_lost = n;
  return {run,
          MakeStep("r", 1, n, 16),
          incident,
          NodeCursor{"node-0", "boot", {static_cast<std::uint64_t>(n)}},
          AuditEntry{WallTime(), "policy", "observe", "r", "", "accepted", ""},
          Decision{"r", AttemptId{1}, n, WallTime(), "observe", ""}};
}

// Never returns. Writes each committed number to `out`.
[[noreturn]] void WriteUntilKilled(StoreOptions options, int out) {
  const SystemClock clock;
  options.start_maintenance = true;
  auto store = SqliteStore::Open(options, &clock);
  if (!store.ok()) std::_Exit(3);
  const absl::StatusOr<Snapshot> snapshot = (*store)->Load(clock.Both());
  if (!snapshot.ok()) std::_Exit(4);
  std::int64_t n =
      snapshot->runs.empty() ? 0 : snapshot->runs[0].max_step.value;
  for (;;) {
    ++n;
    if (!(*store)->Apply(Batch(n), clock.Both()).ok()) std::_Exit(5);
    if (::write(out, &n, sizeof(n)) != sizeof(n)) std::_Exit(6);
  }
}

// The last number the child had told when it was killed after `commits` of
// them and then `delay`; -1 if it ended by itself.
std::int64_t RunAndKill(const StoreOptions& options, int commits,
                        useconds_t delay) {
  int pipe_fds[2];
  if (::pipe(pipe_fds) != 0) return -1;
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(pipe_fds[0]);
    WriteUntilKilled(options, pipe_fds[1]);
  }
  ::close(pipe_fds[1]);
  std::int64_t told = 0;
  std::int64_t n = 0;
  for (int i = 0;
       i < commits && ::read(pipe_fds[0], &n, sizeof(n)) == sizeof(n); ++i) {
    told = n;
  }
  ::usleep(delay);  // Pace: into the middle of a commit.
  ::kill(child, SIGKILL);
  while (::read(pipe_fds[0], &n, sizeof(n)) == sizeof(n)) told = n;
  ::close(pipe_fds[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFSIGNALED(status)) {
    ADD_FAILURE() << "the writer ended with code " << WEXITSTATUS(status);
    return -1;
  }
  return told;
}

class CrashTest : public StoreTest {};

TEST_F(CrashTest, NothingThatWasAcknowledgedIsLost) {
  std::mt19937_64 random(1);
  std::int64_t told = 0;
  for (int kill = 0; kill < kKills; ++kill) {
    SCOPED_TRACE(kill);
    const std::int64_t last =
        RunAndKill(options_, static_cast<int>(1 + random() % 40),
                   static_cast<useconds_t>(random() % 3000));
    ASSERT_GE(last, told);
    told = last;
  }
  Open();
  const Snapshot snapshot = LoadAll();
  ASSERT_EQ(snapshot.runs.size(), 1u);
  const std::int64_t stored = snapshot.runs[0].max_step.value;
  EXPECT_GE(stored, told);
  // Each transaction is there whole, once.
  EXPECT_EQ(snapshot.cursors.at(0).acked.value,
            static_cast<std::uint64_t>(stored));
  EXPECT_EQ(snapshot.open_incidents.at(0).steps_lost, stored);
  StepQuery query;
  query.run = "r";
  const auto curve = store_->history().Steps(query);
  ASSERT_TRUE(curve.ok()) << curve.status();
  std::int64_t steps = 0;
  for (const StepBucket& bucket : *curve) steps += bucket.steps;
  EXPECT_EQ(steps, stored);
  EXPECT_EQ(store_->history().VerifyAudit()->seq, stored);
  EXPECT_EQ(
      store_->history().Decisions("r", kMaxListed)->size(),
      static_cast<std::size_t>(std::min<std::int64_t>(stored, kMaxListed)));
  EXPECT_EQ(snapshot.server_epoch, static_cast<std::uint64_t>(kKills) + 1);
}

}  // namespace
}  // namespace steadyrun
