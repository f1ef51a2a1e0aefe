#include "agent/core/answers.h"

#include <gtest/gtest.h>

#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr MonoTime kStart{std::chrono::hours(1)};

CommandResult Result(std::string id, CommandOutcome outcome) {
  CommandResult result;
  result.command_id = std::move(id);
  result.outcome = outcome;
  return result;
}

TEST(AnswersTest, TheSameAnswerWaitsUntilTheFirstIsAcknowledged) {
  Answers answers;
  answers.Remember(Result("a", CommandOutcome::kBusy), ReportSeq{5}, kStart);

  EXPECT_FALSE(answers.IsWorthReporting("a", CommandOutcome::kBusy,
                                        ReportSeq{4}, kStart + seconds(9)));
  EXPECT_FALSE(answers.IsWorthReporting(
      "a", CommandOutcome::kBusy, ReportSeq{5}, kStart + milliseconds(999)));
  EXPECT_TRUE(answers.IsWorthReporting("a", CommandOutcome::kBusy, ReportSeq{5},
                                       kStart + seconds(1)));
  EXPECT_TRUE(answers.IsWorthReporting("a", CommandOutcome::kDone, ReportSeq{4},
                                       kStart));
}

TEST(AnswersTest, OnlySuccessAndMissedAreFinal) {
  Answers answers;
  answers.Remember(Result("done", CommandOutcome::kDone), ReportSeq{1}, kStart);
  answers.Remember(Result("missed", CommandOutcome::kMissed), ReportSeq{2},
                   kStart);
  answers.Remember(Result("failed", CommandOutcome::kFailed), ReportSeq{3},
                   kStart);

  EXPECT_NE(answers.Final("done"), nullptr);
  EXPECT_NE(answers.Final("missed"), nullptr);
  EXPECT_EQ(answers.Final("failed"), nullptr);
  EXPECT_EQ(answers.Final("unknown"), nullptr);
}

TEST(AnswersTest, MemoryIsBounded) {
  Answers answers;
  for (std::size_t i = 0; i <= Answers::kMaxRemembered; ++i) {
    answers.Remember(Result(fmt::format("{}", i), CommandOutcome::kDone),
                     ReportSeq{i + 1}, kStart);
  }

  EXPECT_EQ(answers.Final("0"), nullptr);
  EXPECT_NE(answers.Final("1"), nullptr);
}

}  // namespace
}  // namespace steadyrun::agent
