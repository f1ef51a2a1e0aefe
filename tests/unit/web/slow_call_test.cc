#include "server/web/slow_call.h"

#include <gtest/gtest.h>

#include "absl/synchronization/notification.h"

namespace steadyrun {
namespace {

TEST(SlowCallTest, OneAtATimeOnAThreadOfItsOwn) {
  absl::Notification go_on;
  absl::Notification has_ended;
  const std::thread::id here = std::this_thread::get_id();
  SlowCall slow;
  ASSERT_TRUE(slow.Start([&] {
    EXPECT_NE(std::this_thread::get_id(), here);
    go_on.WaitForNotification();
    has_ended.Notify();
  }));
  EXPECT_FALSE(slow.Start([] { FAIL() << "a second one beside the first"; }));
  go_on.Notify();
  has_ended.WaitForNotification();
  bool has_run = false;
  while (!slow.Start([&] { has_run = true; })) std::this_thread::yield();
  {
    SlowCall last;
    EXPECT_TRUE(last.Start([] {}));  // Waited for at its end.
  }
  while (!slow.Start([] {})) std::this_thread::yield();
  EXPECT_TRUE(has_run);
}

}  // namespace
}  // namespace steadyrun
