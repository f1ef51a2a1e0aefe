#include "agent/logs/clean_text.h"

#include <gmock/gmock.h>

namespace steadyrun::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(CleanLineTest, RemovesWhatATerminalWouldObey) {
  EXPECT_EQ(CleanLine("\x1b[31mred\x1b[0m text", 100), "red text");
  EXPECT_EQ(CleanLine("\x1b]0;title\atext", 100), "text");
  EXPECT_EQ(CleanLine("a\tb\bc\x7f\x01", 100), "a bc");
  EXPECT_EQ(CleanLine("cut\x1b[", 100), "cut");
  EXPECT_EQ(CleanLine("cut\x1b", 100), "cut");
}

TEST(CleanLineTest, RemovesWhatReordersOrHidesText) {
  EXPECT_EQ(CleanLine("a\u202Eb\u200Bc\u2028d\uFEFF", 100), "abcd");
  EXPECT_EQ(CleanLine("\u0085x\u009bx", 100), "xx") << "C1 controls";
}

TEST(CleanLineTest, KeepsTextOfAnyLanguage) {
  EXPECT_EQ(CleanLine("训练 Ошибка é 🙂", 100),
            "训练 Ошибка é 🙂");
}

TEST(CleanLineTest, ReplacesDamagedBytes) {
  EXPECT_EQ(CleanLine("a\xff"
                      "b",
                      100),
            "a\uFFFD"
            "b");
  EXPECT_EQ(CleanLine("\xc0\xaf", 100), "\uFFFD\uFFFD") << "overlong";
  EXPECT_EQ(CleanLine("\xed\xa0\x80", 100), "\uFFFD\uFFFD\uFFFD")
      << "surrogate";
}

TEST(CleanLineTest, CutsBetweenCharacters) {
  EXPECT_EQ(CleanLine("ééé", 5), "éé");
  EXPECT_EQ(CleanLine("abc", 0), "");
}

TEST(CleanLineTest, EveryByteGivesValidText) {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const char bytes[] = {static_cast<char>(first),
                            static_cast<char>(second)};
      const std::string clean = CleanLine({bytes, 2}, 100);
      // Cleaning what is clean changes nothing.
      ASSERT_EQ(CleanLine(clean, 100), clean) << first << " " << second;
    }
  }
}

TEST(MaskSecretsTest, MasksWhatIsNamedASecret) {
  for (const char* line :
       {"WANDB_API_KEY=abcdef1234567890", "--hub-token hunter2-abcdef=x",
        "password: hunter2-abcdef", "{\"secret\": \"hunter2-abcdef\"}",
        "Authorization: Bearer hunter2-abcdef",
        "AWS_SECRET_ACCESS_KEY=hunter2x", "url https://user:hunter2@host/x",
        "using hf_abcdefghijklmnop", "ghp_abcdefghijklmnop1234",
        "client_token='hunter2-abcdef'"}) {
    const std::string masked = MaskSecrets(line);
    EXPECT_THAT(masked, Not(HasSubstr("hunter2-abcdef\""))) << masked;
    EXPECT_THAT(masked, HasSubstr("***")) << line;
  }
  EXPECT_EQ(MaskSecrets("WANDB_API_KEY=abcdef"), "WANDB_API_KEY=***");
}

TEST(MaskSecretsTest, LeavesTrainingTalkAlone) {
  for (const char* line :
       {"tokens per second: 1234.5", "ValueError: bad token at position 5",
        "File \"/x/tokenizer.py\", line 3, in encode",
        "consumed tokens: 121470976 | loss 3.4",
        "RuntimeError: Expected 4 tokens, got 5"}) {
    EXPECT_THAT(MaskSecrets(line), ::testing::StrEq(line));
  }
}

}  // namespace
}  // namespace steadyrun::agent
