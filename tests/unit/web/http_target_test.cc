#include "server/web/http_target.h"

#include <gtest/gtest.h>

namespace steadyrun {
namespace {

TEST(HttpTargetTest, SplitsPathAndQuery) {
  const auto target = ParseTarget("/a%20b/c?x=1&y=%2f&x=2&&z");
  ASSERT_TRUE(target.has_value());
  EXPECT_EQ(target->path, "/a b/c");
  EXPECT_EQ(target->query.at("x"), "1");
  EXPECT_EQ(target->query.at("y"), "/");
  EXPECT_EQ(target->query.at("z"), "");
  EXPECT_EQ(target->query.size(), 3u);
  EXPECT_EQ(ParseTarget("/...")->path, "/...");
}

TEST(HttpTargetTest, RefusesWhatIsNoPath) {
  for (const char* bad :
       {"", "*", "a", "http://h/", "/..", "/../a", "/a/..", "/a/./b", "/%2e%2e",
        "/%", "/%1", "/%zz", "/%00", "/a?x=%", "/a?%00=1"}) {
    EXPECT_FALSE(ParseTarget(bad).has_value()) << bad;
  }
  std::string many = "/a?";
  for (int i = 0; i < 40; ++i) many += "p" + std::to_string(i) + "=1&";
  EXPECT_FALSE(ParseTarget(many).has_value());
}

}  // namespace
}  // namespace steadyrun
