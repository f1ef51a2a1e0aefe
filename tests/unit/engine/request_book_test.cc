#include "server/engine/request_book.h"

#include <gtest/gtest.h>

namespace steadyrun {
namespace {

ReplyToOperator Reply(std::string message) {
  ReplyToOperator reply;
  reply.message = std::move(message);
  reply.run = "gpt";
  reply.attempt = AttemptId{3};
  reply.step = Step{42};
  return reply;
}

TEST(RequestBookTest, ARepetitionGetsTheReplyOfTheFirst) {
  RequestBook book({});
  EXPECT_FALSE(book.Find("q").has_value());
  book.Add("q", Reply("saves\tat\nstep 42"));

  const std::optional<ReplyToOperator> again = book.Find("q");

  ASSERT_TRUE(again.has_value());
  EXPECT_TRUE(again->is_duplicate);
  EXPECT_EQ(again->message, "saves\tat\nstep 42");
  EXPECT_EQ(again->run, "gpt");
  EXPECT_EQ(again->attempt, AttemptId{3});
  EXPECT_EQ(again->step, Step{42});
}

TEST(RequestBookTest, WhatIsStoredIsKnownAfterARestart) {
  RequestBook book({});
  const RequestDone done = book.Add("q", Reply("yes"));

  const RequestBook later({{done.request_id, done.reply}});

  ASSERT_TRUE(later.Find("q").has_value());
  EXPECT_EQ(later.Find("q")->message, "yes");
}

TEST(RequestBookTest, RequestsWithoutANameAreNeverRepetitions) {
  RequestBook book({});
  book.Add("", Reply("yes"));
  EXPECT_FALSE(book.Find("").has_value());
}

TEST(RequestBookTest, TheOldestFallOut) {
  RequestBook book({});
  for (std::size_t i = 0; i <= RequestBook::kMaxRequests; ++i) {
    book.Add(std::to_string(i), Reply("yes"));
  }
  EXPECT_FALSE(book.Find("0").has_value());
  EXPECT_TRUE(book.Find("1").has_value());
}

}  // namespace
}  // namespace steadyrun
