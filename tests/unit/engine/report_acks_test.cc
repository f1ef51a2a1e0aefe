#include "server/engine/report_acks.h"

#include <gtest/gtest.h>

namespace steadyrun {
namespace {

TEST(ReportAcksTest, WhatIsAppliedAtOnceMayBeAckedAtOnce) {
  ReportAcks acks;
  acks.Reset("boot", ReportSeq{10});
  EXPECT_FALSE(acks.IsNew(ReportSeq{10}));
  ASSERT_TRUE(acks.IsNew(ReportSeq{11}));
  acks.Receive(ReportSeq{11});
  EXPECT_EQ(acks.Applied(), ReportSeq{11});
}

TEST(ReportAcksTest, AHeldReportHoldsBackAllThatFollow) {
  ReportAcks acks;
  acks.Receive(ReportSeq{1});
  acks.Receive(ReportSeq{2});
  const HeldReport second = acks.Hold(nullptr);
  acks.Receive(ReportSeq{3});
  acks.Receive(ReportSeq{4});
  const HeldReport fourth = acks.Hold(nullptr);
  acks.Receive(ReportSeq{5});

  EXPECT_EQ(acks.Applied(), ReportSeq{1});
  acks.Release(fourth);  // Out of order.
  EXPECT_EQ(acks.Applied(), ReportSeq{1});
  acks.Release(second);
  EXPECT_EQ(acks.Applied(), ReportSeq{5});
  EXPECT_EQ(acks.HeldCount(), 0U);
}

TEST(ReportAcksTest, ReleasingTwiceChangesNothing) {
  ReportAcks acks;
  acks.Receive(ReportSeq{1});
  const HeldReport first = acks.Hold(nullptr);
  acks.Receive(ReportSeq{2});
  const HeldReport second = acks.Hold(nullptr);

  acks.Release(first);
  acks.Release(first);

  EXPECT_EQ(acks.Applied(), ReportSeq{1});
  acks.Release(second);
  EXPECT_EQ(acks.Applied(), ReportSeq{2});
}

TEST(ReportAcksTest, WhatWasHeldInAnEarlierLifeMeansNothing) {
  ReportAcks acks;
  acks.Reset("one", ReportSeq{0});
  acks.Receive(ReportSeq{1});
  const HeldReport old = acks.Hold(nullptr);
  acks.Reset("two", ReportSeq{0});
  acks.Receive(ReportSeq{1});
  acks.Hold(nullptr);

  acks.Release(old);

  EXPECT_EQ(acks.Applied(), ReportSeq{0});
  EXPECT_EQ(acks.HeldCount(), 1U);
}

}  // namespace
}  // namespace steadyrun
