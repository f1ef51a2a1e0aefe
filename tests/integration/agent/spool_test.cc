#include "agent/spool/spool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/integration/agent/scratch.h"
#include "tests/integration/agent/spool_rig.h"

namespace steadyrun::agent {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(SpoolTest, KeepsReportsInOrderOverARestart) {
  Scratch scratch;
  {
    Spool spool({.path = scratch / "spool.db"});
    spool.Write({Telemetry(1), Critical(2)}, {});
    spool.Write({Telemetry(3)}, {});
    EXPECT_EQ(ExpectConserved(Stored(spool), 1, 3).telemetry, 2u);
  }
  Spool spool({.path = scratch / "spool.db"});

  EXPECT_EQ(ExpectConserved(Stored(spool), 1, 3).critical, 1u);
  EXPECT_TRUE(spool.knows_last_seq());
  EXPECT_EQ(spool.last_seq(), ReportSeq{3});
  EXPECT_EQ(spool.oldest_seq(), ReportSeq{1});
  EXPECT_EQ(spool.counts().reports, 3u);
}

TEST(SpoolTest, DropsWhatIsAcknowledgedAndRemembersTheLastNumber) {
  Scratch scratch;
  {
    Spool spool({.path = scratch / "spool.db"});
    spool.Write({Telemetry(1), Telemetry(2), Telemetry(3)}, {});
    spool.Write({}, ReportSeq{2});
    EXPECT_EQ(spool.oldest_seq(), ReportSeq{3});
    EXPECT_EQ(spool.counts().reports, 1u);
    spool.Write({}, ReportSeq{3});
    EXPECT_THAT(Stored(spool), IsEmpty());
    EXPECT_EQ(spool.counts().bytes, 0u);
  }
  Spool spool({.path = scratch / "spool.db"});

  EXPECT_TRUE(spool.knows_last_seq());
  EXPECT_EQ(spool.last_seq(), ReportSeq{3});
  EXPECT_EQ(spool.oldest_seq(), ReportSeq{0});
}

TEST(SpoolTest, ReadsWithinABudgetButAtLeastOne) {
  Scratch scratch;
  Spool spool({.path = scratch / "spool.db"});
  spool.Write({Telemetry(1, 64), Telemetry(2, 64), Telemetry(3, 64)}, {});
  const std::size_t one = spool.ReadAfter({}, 1).at(0).bytes.size();

  EXPECT_THAT(spool.ReadAfter({}, 1), SizeIs(1));
  EXPECT_THAT(spool.ReadAfter({}, 2 * one), SizeIs(2));
  EXPECT_THAT(spool.ReadAfter(ReportSeq{2}, 2 * one), SizeIs(1));
  EXPECT_THAT(spool.ReadAfter(ReportSeq{3}, 2 * one), IsEmpty());
}

TEST(SpoolTest, ReadsOldReportsFromDiskAndNewOnesFromMemory) {
  Scratch scratch;
  Spool spool({.path = scratch / "spool.db"});
  for (std::uint64_t seq = 1; seq <= 4000; ++seq) {
    spool.Write({Telemetry(seq, 32)}, {});
  }

  EXPECT_EQ(ExpectConserved(Stored(spool), 1, 4000).telemetry, 4000u);
}

TEST(SpoolTest, ThinsTheOldestTelemetryFirstAndSaysSo) {
  Scratch scratch;
  Spool spool({.path = scratch / "spool.db", .max_bytes = 64 << 10});
  for (std::uint64_t seq = 1; seq <= 2000; ++seq) {
    spool.Write({seq % 100 == 0 ? Critical(seq) : Telemetry(seq, 16)}, {});
  }

  const auto stored = Stored(spool);
  const Inventory found = ExpectConserved(stored, 1, 2000);
  EXPECT_EQ(found.critical, 20u);
  EXPECT_GT(found.telemetry, 50u);
  EXPECT_LT(found.gaps, 25u);  // Joined, not one a report.
  EXPECT_EQ(found.telemetry + spool.counts().dropped, 1980u);
  EXPECT_TRUE(IsTelemetry(stored.back().body) ||
              std::holds_alternative<RankExited>(stored.back().body));
  EXPECT_TRUE(spool.counts().is_full);
  EXPECT_LE(spool.counts().bytes, 64u << 10);
}

TEST(SpoolTest, CriticalReportsAreBoundedToo) {
  Scratch scratch;
  Spool spool({.path = scratch / "spool.db", .max_bytes = 64 << 10});
  for (std::uint64_t seq = 1; seq <= 2000; ++seq) {
    spool.Write({Critical(seq)}, {});
  }

  EXPECT_GT(ExpectConserved(Stored(spool), 1, 2000).critical, 100u);
  EXPECT_LE(spool.counts().bytes, 90u << 10);
}

// The server would refuse it, and everything after it, for ever.
TEST(SpoolTest, AMalformedReportBecomesAGap) {
  Scratch scratch;
  Spool spool({.path = scratch / "spool.db"});
  Report bad = Telemetry(2);
  std::get<StepBlock>(bad.body).values.pop_back();
  spool.Write({Telemetry(1), bad, Telemetry(3)}, {});

  const auto stored = Stored(spool);
  EXPECT_EQ(ExpectConserved(stored, 1, 3).gaps, 1u);
  EXPECT_THAT(std::get<Gap>(stored[1].body).reason,
              ::testing::HasSubstr("malformed"));
}

TEST(SpoolTest, ADamagedFileIsMovedAside) {
  Scratch scratch;
  {
    Spool spool({.path = scratch / "spool.db"});
    spool.Write({Telemetry(1)}, {});
  }
  std::ofstream(scratch / "spool.db") << std::string(8192, 'x');
  Spool spool({.path = scratch / "spool.db"});

  EXPECT_FALSE(spool.knows_last_seq());
  EXPECT_TRUE(std::filesystem::exists(scratch / "spool.db.damaged"));
  EXPECT_THAT(spool.TakeLog(), ::testing::Not(IsEmpty()));
  spool.Write({Telemetry(7)}, {});
  EXPECT_EQ(Stored(spool).at(0).seq, ReportSeq{7});
}

TEST(SpoolTest, ALostDatabaseMakesTheLastNumberUnknown) {
  Scratch scratch;
  {
    Spool spool({.path = scratch / "spool.db"});
    spool.Write({Telemetry(1)}, {});
  }
  std::filesystem::remove(scratch / "spool.db");
  Spool spool({.path = scratch / "spool.db"});

  EXPECT_FALSE(spool.knows_last_seq());
  EXPECT_EQ(spool.last_seq(), ReportSeq{0});
}

TEST(SpoolTest, WithoutAnyDiskItGoesOnInMemory) {
  Scratch scratch;
  Spool spool(
      {.path = scratch / "absent/spool.db", .overflow_bytes = 16 << 10});
  for (std::uint64_t seq = 1; seq <= 500; ++seq) {
    spool.Write({seq % 50 == 0 ? Critical(seq) : Telemetry(seq)}, {});
  }

  EXPECT_FALSE(spool.knows_last_seq());
  EXPECT_TRUE(spool.counts().is_full);
  EXPECT_LE(spool.counts().bytes, 16u << 10);
  // The memory of the newest rows may still hold more than is kept.
  const auto kept = Stored(spool);
  EXPECT_EQ(kept.back().seq, ReportSeq{500});
}

// kill -9 at any moment: what was told to be written is there.
TEST(SpoolTest, OutlivesKill9) {
  for (int round = 0; round < 5; ++round) {
    Scratch scratch;
    int pipe_fds[2];
    ASSERT_EQ(::pipe(pipe_fds), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      Spool spool({.path = scratch / "spool.db"});
      for (std::uint64_t seq = 1;; ++seq) {
        spool.Write({Telemetry(seq)}, ReportSeq{seq > 500 ? seq - 500 : 0});
        if (::write(pipe_fds[1], &seq, sizeof seq) != sizeof seq) ::_exit(1);
      }
    }
    ::close(pipe_fds[1]);
    std::uint64_t told = 0;
    while (told < 300u * static_cast<unsigned>(round + 1)) {
      ASSERT_EQ(::read(pipe_fds[0], &told, sizeof told), ssize_t{8});
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    for (std::uint64_t seq; ::read(pipe_fds[0], &seq, sizeof seq) == 8;) {
      told = seq;
    }
    ::close(pipe_fds[0]);

    Spool spool({.path = scratch / "spool.db"});
    ASSERT_TRUE(spool.knows_last_seq());
    EXPECT_GE(spool.last_seq().value, told);
    ExpectConserved(Stored(spool), spool.oldest_seq().value,
                    spool.last_seq().value);
  }
}

}  // namespace
}  // namespace steadyrun::agent
