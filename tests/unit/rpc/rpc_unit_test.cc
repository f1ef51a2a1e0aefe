// The parts of the rpc adapter that need no network.

#include <gtest/gtest.h>

#include "server/rpc/outgoing_queue.h"
#include "server/rpc/status_convert.h"

namespace steadyrun {
namespace {

TEST(StatusConvertTest, EveryCodeThereAndBack) {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status sent(static_cast<absl::StatusCode>(code),
                            code == 0 ? "" : "what and where");
    const grpc::Status carried = ToGrpc(sent);
    EXPECT_EQ(static_cast<int>(carried.error_code()), code);
    EXPECT_EQ(FromGrpc(carried), sent) << code;
  }
  // The numbers are equal because the names are.
  EXPECT_EQ(ToGrpc(absl::AbortedError("")).error_code(),
            grpc::StatusCode::ABORTED);
  EXPECT_EQ(ToGrpc(absl::ResourceExhaustedError("")).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ToGrpc(absl::UnauthenticatedError("")).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
}

Command CommandNamed(const std::string& id, std::size_t bytes = 1) {
  Command command;
  command.command_id = id;
  command.run = "gpt";
  StartCommand start;
  start.argv = {std::string(bytes, 'x')};
  command.body = start;
  return command;
}

class OutgoingQueueTest : public ::testing::Test {
 protected:
  v1::ServerMessage Take() {
    v1::ServerMessage message;
    queue_.Take(now_, &message);
    return message;
  }
  OutgoingQueue queue_;
  MonoTime now_{std::chrono::hours(1)};
};

TEST_F(OutgoingQueueTest, NothingIsDueAtFirst) {
  EXPECT_FALSE(queue_.IsDue(now_));
  queue_.Ack({0});
  EXPECT_FALSE(queue_.IsDue(now_));
}

TEST_F(OutgoingQueueTest, AcksWaitForCompanyOrTheirTime) {
  queue_.Ack({5});
  ASSERT_TRUE(queue_.IsDue(now_));
  EXPECT_EQ(Take().ack_seq(), 5u);
  queue_.Ack({6});
  queue_.Ack({4});  // An older one changes nothing.
  EXPECT_FALSE(queue_.IsDue(now_));
  EXPECT_TRUE(queue_.IsDue(now_ + OutgoingQueue::kAckInterval));
  ASSERT_TRUE(queue_.Add(CommandNamed("a")));
  const auto message = Take();
  EXPECT_EQ(message.ack_seq(), 6u);
  EXPECT_EQ(message.commands_size(), 1);
  queue_.Ack({6 + OutgoingQueue::kAckReports});
  EXPECT_TRUE(queue_.IsDue(now_));
}

TEST_F(OutgoingQueueTest, ACommandReplacesTheWaitingOneOfItsId) {
  ASSERT_TRUE(queue_.Add(CommandNamed("a", 1)));
  ASSERT_TRUE(queue_.Add(CommandNamed("b", 1)));
  ASSERT_TRUE(queue_.Add(CommandNamed("a", 3)));
  const auto message = Take();
  ASSERT_EQ(message.commands_size(), 2);
  EXPECT_EQ(message.commands(0).start().argv(0), "xxx");
  EXPECT_EQ(message.commands(1).command_id(), "b");
}

TEST_F(OutgoingQueueTest, LengthAndMessagesAreBounded) {
  for (std::size_t i = 0; i < OutgoingQueue::kMaxCommands; ++i) {
    ASSERT_TRUE(queue_.Add(CommandNamed(std::to_string(i), 10'000)));
  }
  EXPECT_FALSE(queue_.Add(CommandNamed("one more")));
  std::size_t taken = 0;
  while (queue_.IsDue(now_)) {
    const auto message = Take();
    EXPECT_LE(message.ByteSizeLong(), OutgoingQueue::kMaxMessageBytes + 100);
    for (const auto& command : message.commands()) {
      EXPECT_EQ(command.command_id(), std::to_string(taken++));
    }
  }
  EXPECT_EQ(taken, OutgoingQueue::kMaxCommands);
}

TEST_F(OutgoingQueueTest, ALargeCommandGoesAlone) {
  ASSERT_TRUE(queue_.Add(CommandNamed("large", 500'000)));
  ASSERT_TRUE(queue_.Add(CommandNamed("small")));
  EXPECT_EQ(Take().commands_size(), 1);
  EXPECT_EQ(Take().commands(0).command_id(), "small");
}

}  // namespace
}  // namespace steadyrun
