#include "server/engine/goodput_window.h"

#include <gtest/gtest.h>

namespace steadyrun {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

const WallTime kStart = FromUnixMillis(1'700'000'000'000);

// A run whose ledger a test fills.
class Ledger {
 public:
  Ledger() { state_.created = state_.accounted = kStart; }
  void Spend(Duration time, const std::string& cause) {
    state_.time_seconds[cause] += ToSeconds(time);
    state_.accounted +=
        std::chrono::duration_cast<std::chrono::milliseconds>(time);
  }
  const RunState& State() const { return state_; }

 private:
  RunState state_;
};

TEST(GoodputWindowTest, NothingIsSaidOfTheFirstMoment) {
  Ledger ledger;
  GoodputWindow window;
  window.Begin(ledger.State());
  ledger.Spend(seconds(30), "startup");
  EXPECT_EQ(window.Of(ledger.State()).over, Duration::zero());
}

TEST(GoodputWindowTest, AYoungRunIsMeasuredFromItsBeginning) {
  Ledger ledger;
  ledger.Spend(hours(1), "startup");
  ledger.Spend(hours(3), "productive");
  GoodputWindow window;
  window.Begin(ledger.State());  // Also after a restart of the service.

  const GoodputWindow::Share share = window.Of(ledger.State());

  EXPECT_DOUBLE_EQ(share.goodput, 0.75);
  EXPECT_EQ(share.over, hours(4));
}

TEST(GoodputWindowTest, OnlyTheNewestDayCounts) {
  Ledger ledger;
  GoodputWindow window;
  window.Begin(ledger.State());
  // A bad first day, then three in which one hour of four is lost.
  for (int minute = 0; minute < 4 * 24 * 60; ++minute) {
    const bool is_lost = minute < 24 * 60 || minute % 240 < 60;
    ledger.Spend(minutes(1), is_lost ? "restarting" : "productive");
    window.Observe(ledger.State());
  }
  const GoodputWindow::Share share = window.Of(ledger.State());
  EXPECT_NEAR(share.goodput, 0.75, 0.01);
  EXPECT_LE(share.over, hours(24));
  EXPECT_GE(share.over, hours(24) - GoodputWindow::kPace);
}

TEST(GoodputWindowTest, OfAnOldRunTheWindowBeginsAnewWithTheService) {
  Ledger ledger;
  ledger.Spend(hours(100), "halted");
  GoodputWindow window;
  window.Begin(ledger.State());
  EXPECT_EQ(window.Of(ledger.State()).over, Duration::zero());
  ledger.Spend(minutes(10), "productive");
  EXPECT_DOUBLE_EQ(window.Of(ledger.State()).goodput, 1);
  EXPECT_EQ(window.Of(ledger.State()).over, minutes(10));
}

TEST(GoodputWindowTest, TimeMovedToACheckpointLateIsNoNegativeShare) {
  Ledger ledger;
  ledger.Spend(hours(48), "productive");
  GoodputWindow window;
  window.Begin(ledger.State());
  ledger.Spend(minutes(2), "checkpoint");
  ledger.Spend(Duration::zero() - minutes(1), "productive");
  EXPECT_EQ(window.Of(ledger.State()).goodput, 0);
}

}  // namespace
}  // namespace steadyrun
