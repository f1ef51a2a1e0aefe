#include <gtest/gtest.h>

#include "base/config_reader.h"

namespace steadyrun {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::nanoseconds;
using std::chrono::seconds;

TEST(DurationTextTest, ReadsWhatPeopleWrite) {
  struct Case {
    const char* text;
    Duration value;
  };
  const Case cases[] = {
      {"0s", seconds(0)},
      {"10s", seconds(10)},
      {"500ms", milliseconds(500)},
      {"2m", minutes(2)},
      {"2min", minutes(2)},
      {"1h", hours(1)},
      {"1d", hours(24)},
      {"1h30m", minutes(90)},
      {"1m30s", seconds(90)},
      {"1.5s", milliseconds(1500)},
      {"250us", microseconds(250)},
      {"7ns", nanoseconds(7)},
      {"3", seconds(3)},
      {"0.25", milliseconds(250)},
      {"1d2h3m4s", hours(26) + minutes(3) + seconds(4)},
  };
  for (const Case& test : cases) {
    Duration value{-1};
    EXPECT_TRUE(ParseDuration(test.text, &value)) << test.text;
    EXPECT_EQ(value, test.value) << test.text;
  }
}

TEST(DurationTextTest, RefusesWhatIsUnclear) {
  for (const char* text : {"",
                           "s",
                           "10 s",
                           " 10s",
                           "10s ",
                           "-1s",
                           "+1s",
                           "1m30",
                           "30s1m",
                           "1s1s",
                           "1e3s",
                           "1..5s",
                           ".",
                           "1.2.3",
                           "10x",
                           "10S",
                           "1h30",
                           "0x10s",
                           "inf",
                           "nan",
                           "99999999999999999999s",
                           "10000000000h"}) {
    Duration value{-1};
    EXPECT_FALSE(ParseDuration(text, &value)) << text;
    EXPECT_EQ(value, Duration{-1}) << text;
  }
}

TEST(DurationTextTest, WritesTheShortestTextThatReadsBack) {
  EXPECT_EQ(FormatDuration(Duration{}), "0s");
  EXPECT_EQ(FormatDuration(seconds(90)), "90s");
  EXPECT_EQ(FormatDuration(minutes(90)), "90m");
  EXPECT_EQ(FormatDuration(hours(24)), "24h");
  EXPECT_EQ(FormatDuration(milliseconds(1500)), "1500ms");
  std::uint64_t random = 1;
  for (int i = 0; i < 1000; ++i) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    const Duration value(static_cast<std::int64_t>(random >> 20) *
                         (i % 3 == 0 ? 1 : 1000));
    if (value > hours(24 * 365)) continue;
    Duration read{};
    ASSERT_TRUE(ParseDuration(FormatDuration(value), &read));
    ASSERT_EQ(read, value);
  }
}

}  // namespace
}  // namespace steadyrun
