#include "base/nearest_word.h"

#include <gtest/gtest.h>

namespace steadyrun {
namespace {

TEST(NearestWordTest, FindsSlipsAndNothingElse) {
  const std::vector<std::string> words = {"restart", "rollback", "status",
                                          "stop",    "top",      "act"};
  struct Case {
    const char* word;
    const char* nearest;
  };
  const Case cases[] = {
      {"restrat", "restart"},
      {"rolback", "rollback"},
      {"staus", "status"},
      {"sotp", "stop"},
      {"atc", "act"},
      {"act", "act"},
      {"", ""},
      {"banana", ""},
      {"xyz", ""},
  };
  for (const Case& test : cases) {
    EXPECT_EQ(NearestWord(test.word, words), test.nearest) << test.word;
  }
  EXPECT_EQ(NearestWord("restart", {}), "");
  EXPECT_EQ(NearestWord(std::string(1000, 'a'), words), "");
}

}  // namespace
}  // namespace steadyrun
