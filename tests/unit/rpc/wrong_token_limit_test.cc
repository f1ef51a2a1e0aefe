#include "server/rpc/wrong_token_limit.h"

#include <gtest/gtest.h>

#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

using Limit = WrongTokenLimit;
using std::chrono::seconds;

constexpr Duration kNone = Duration::zero();
constexpr char kHere[] = "192.0.2.1";

class WrongTokenLimitTest : public ::testing::Test {
 protected:
  // How many of `count` different wrong tokens are looked at.
  int Guess(std::string_view address, int count) {
    int looked_at = 0;
    for (int i = 0; i < count; ++i) {
      const std::string token = fmt::format("guess {}", ++guesses_);
      if (limit_.WaitOf(address, token, now_) > kNone) continue;
      limit_.NoteWrong(address, token, now_);
      ++looked_at;
    }
    return looked_at;
  }

  Limit limit_;
  MonoTime now_{std::chrono::hours(1)};
  int guesses_ = 0;
};

TEST_F(WrongTokenLimitTest, TenTriesAndThenOneAnInterval) {
  EXPECT_EQ(Guess(kHere, 1000), Limit::kTries);
  EXPECT_EQ(limit_.WaitOf(kHere, "right", now_), Limit::kInterval);
  now_ += Limit::kInterval - std::chrono::milliseconds(1);
  EXPECT_EQ(Guess(kHere, 1000), 0);
  now_ += std::chrono::milliseconds(1);
  EXPECT_EQ(limit_.WaitOf(kHere, "right", now_), kNone);
  EXPECT_EQ(Guess(kHere, 1000), 1);
  // A day of it.
  int looked_at = 0;
  for (int i = 0; i < 24 * 3600; ++i) {
    now_ += seconds(1);
    looked_at += Guess(kHere, 3);
  }
  EXPECT_EQ(looked_at, 17'280);
}

TEST_F(WrongTokenLimitTest, TriesComeBackAndNoMoreThanAll) {
  EXPECT_EQ(Guess(kHere, 1000), Limit::kTries);
  EXPECT_EQ(limit_.CountsAt(now_).addresses, 1u);
  now_ += std::chrono::hours(9);
  EXPECT_EQ(limit_.CountsAt(now_).addresses, 0u);
  EXPECT_EQ(Guess(kHere, 1000), Limit::kTries);
}

TEST_F(WrongTokenLimitTest, AnAddressDoesNotSpendTheTriesOfAnother) {
  EXPECT_EQ(Guess(kHere, 1000), Limit::kTries);
  EXPECT_EQ(limit_.WaitOf("192.0.2.2", "right", now_), kNone);
}

TEST_F(WrongTokenLimitTest, OneTokenAgainAndAgainLeavesATryToOthers) {
  int looked_at = 0;
  for (int i = 0; i < 600; ++i) {
    if (limit_.WaitOf(kHere, "old", now_) == kNone) {
      limit_.NoteWrong(kHere, "old", now_);
      ++looked_at;
    }
    ASSERT_EQ(limit_.WaitOf(kHere, "right", now_), kNone) << i;
    now_ += std::chrono::milliseconds(100);
  }
  EXPECT_EQ(looked_at, Limit::kTries - 1 + 60 / 5 - 1);
}

TEST_F(WrongTokenLimitTest, ANetworkOfIpv6IsOneAddress) {
  EXPECT_EQ(Guess("2001:db8::1", 4) + Guess("2001:db8::ffff:2", 4) +
                Guess("2001:db8:0:0:9::", 1000),
            Limit::kTries);
  EXPECT_EQ(limit_.WaitOf("2001:db8:0:1::1", "right", now_), kNone);
  EXPECT_EQ(Guess("::ffff:192.0.2.1", 3) + Guess(kHere, 1000), Limit::kTries);
  EXPECT_EQ(Guess("fe80::1%eth0", 3) + Guess("fe80::2", 1000), Limit::kTries);
}

TEST_F(WrongTokenLimitTest, ManyAddressesTakeBoundedMemoryTheNewestStay) {
  const auto address = [](std::size_t i) {
    return fmt::format("10.{}.{}.{}", i >> 16, (i >> 8) & 255, i & 255);
  };
  EXPECT_EQ(Guess(kHere, 1000), Limit::kTries);
  for (std::size_t i = 0; i < 2 * Limit::kMaxAddresses; ++i) {
    now_ += std::chrono::microseconds(1);
    EXPECT_EQ(Guess(address(i), 1), 1);
  }
  const Limit::Counts counts = limit_.CountsAt(now_);
  EXPECT_EQ(counts.addresses, Limit::kMaxAddresses);
  EXPECT_EQ(counts.forgotten, Limit::kMaxAddresses + 1);
  // Who has guessed most is forgotten last.
  EXPECT_GT(limit_.WaitOf(kHere, "right", now_), kNone);
  // Those that have all tries back make room first.
  now_ += std::chrono::minutes(5);
  EXPECT_EQ(Guess("192.0.2.9", 1), 1);
  EXPECT_EQ(limit_.CountsAt(now_).forgotten, counts.forgotten);
  EXPECT_EQ(limit_.CountsAt(now_).addresses, 1u);
}

}  // namespace
}  // namespace steadyrun
