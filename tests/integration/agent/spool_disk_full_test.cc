// Goal: a full disk loses telemetry, and says so, never a critical report and
// never a number. Method: a real file system in memory, filled to the last
// byte while the spool is written.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/integration/agent/scratch.h"
#include "tests/integration/agent/spool_rig.h"

namespace steadyrun::agent {
namespace {

constexpr std::size_t kDiskBytes = 6 << 20;

TEST(SpoolDiskFullTest, TelemetryGivesWayAndCriticalReportsStay) {
  SmallDisk disk(kDiskBytes);
  if (!disk.is_mounted()) GTEST_SKIP() << "mounting a tmpfs needs root";
  std::uint64_t seq = 0;
  {
    Spool spool({.path = disk.path() + "/spool.db"});
    for (int i = 0; i < 100; ++i) spool.Write({Telemetry(++seq, 64)}, {});
    disk.Fill();
    for (int i = 0; i < 4000; ++i) {
      ++seq;
      spool.Write({seq % 100 == 0 ? Critical(seq) : Telemetry(seq, 64)}, {});
    }
    EXPECT_TRUE(spool.counts().is_full);
    EXPECT_GT(spool.counts().dropped, 0u);
  }
  Spool spool({.path = disk.path() + "/spool.db"});

  EXPECT_TRUE(spool.knows_last_seq())
      << ::testing::PrintToString(spool.TakeLog());
  EXPECT_EQ(spool.last_seq().value, seq);
  const Inventory found = ExpectConserved(Stored(spool), 1, seq);
  EXPECT_EQ(found.critical, 40u);
  EXPECT_GT(found.telemetry, 500u);  // What was grown at the start is used.
}

TEST(SpoolDiskFullTest, AnAcknowledgingServerKeepsItGoing) {
  SmallDisk disk(kDiskBytes);
  if (!disk.is_mounted()) GTEST_SKIP() << "mounting a tmpfs needs root";
  Spool spool({.path = disk.path() + "/spool.db"});
  disk.Fill();
  for (std::uint64_t seq = 1; seq <= 5000; ++seq) {
    spool.Write({Telemetry(seq, 64)}, ReportSeq{seq > 50 ? seq - 50 : 0});
  }

  EXPECT_EQ(spool.counts().dropped, 0u);
  EXPECT_FALSE(spool.counts().is_full);
  ExpectConserved(Stored(spool), 4951, 5000);
}

TEST(SpoolDiskFullTest, RecoversWhenThereIsSpaceAgain) {
  SmallDisk disk(kDiskBytes);
  if (!disk.is_mounted()) GTEST_SKIP() << "mounting a tmpfs needs root";
  Spool spool({.path = disk.path() + "/spool.db"});
  disk.Fill();
  std::uint64_t seq = 0;
  for (int i = 0; i < 3000; ++i) spool.Write({Telemetry(++seq, 64)}, {});
  const std::uint64_t dropped = spool.counts().dropped;
  EXPECT_GT(dropped, 0u);

  disk.Free();
  for (int i = 0; i < 500; ++i) spool.Write({Telemetry(++seq, 64)}, {});

  EXPECT_EQ(spool.counts().dropped, dropped);
  EXPECT_FALSE(spool.counts().is_full);
  ExpectConserved(Stored(spool), 1, seq);
}

// The first start of an agent on a disk that is full already.
TEST(SpoolDiskFullTest, ComesUpOnAFullDisk) {
  SmallDisk disk(kDiskBytes);
  if (!disk.is_mounted()) GTEST_SKIP() << "mounting a tmpfs needs root";
  disk.Fill();
  Spool spool({.path = disk.path() + "/spool.db"});
  for (std::uint64_t seq = 1; seq <= 100; ++seq) {
    spool.Write({Critical(seq)}, {});
  }

  EXPECT_EQ(ExpectConserved(Stored(spool), 1, 100).critical, 100u);
  disk.Free();
  for (std::uint64_t seq = 101; seq <= 300; ++seq) {
    spool.Write({Critical(seq)}, {});
  }
  EXPECT_EQ(ExpectConserved(Stored(spool), 1, 300).critical, 300u);
}

}  // namespace
}  // namespace steadyrun::agent
