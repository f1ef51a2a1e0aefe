#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "agent/logs/event_record.h"
#include "base/crc32c.h"
#include "base/file.h"
#include "replay/readers/read_trace.h"
#include "replay/readers/tensorboard_trace.h"

namespace steadyrun::replay {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

template <typename T>
std::string Bytes(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}
std::string Varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) {
    bytes += static_cast<char>((value & 0x7F) | 0x80);
  }
  return bytes + static_cast<char>(value);
}
std::string Key(int number, int type) {
  return Varint(static_cast<std::uint64_t>(number) << 3 |
                static_cast<std::uint64_t>(type));
}
std::string Text(int number, const std::string& text) {
  return Key(number, 2) + Varint(text.size()) + text;
}
std::string Record(const std::string& data) {
  const std::string size = Bytes<std::uint64_t>(data.size());
  return size + Bytes(agent::MaskedCrc32c(size)) + data +
         Bytes(agent::MaskedCrc32c(data));
}
std::string Event(double wall, std::int64_t step, const std::string& value) {
  return Record(Key(1, 1) + Bytes(wall) + Key(2, 0) +
                Varint(static_cast<std::uint64_t>(step)) +
                Text(5, Text(1, value)));
}
std::string Scalar(double wall, std::int64_t step, const std::string& tag,
                   float value) {
  return Event(wall, step, Text(1, tag) + Key(2, 5) + Bytes(value));
}
std::string Tensor(std::int64_t step, const std::string& tag,
                   const std::string& tensor) {
  return Event(0, step, Text(1, tag) + Text(8, tensor));
}
const std::string& Version() {
  static const std::string kRecord =
      Record(Key(1, 1) + Bytes(1.0) + Text(3, "brain.Event:2"));
  return kRecord;
}

TEST(Crc32cTest, KnownValues) {
  // RFC 3720, B.4, and the usual check value.
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62A8AB43u);
}

TEST(TensorBoardTest, JoinsTagsByStepAndTakesTimesFromTheWall) {
  const auto trace = ReadTrace(Version() + Scalar(100, 1, "train/loss", 2.5F) +
                                   Scalar(100.1, 1, "train/grad_norm", NAN) +
                                   Scalar(103, 3, "train/loss", 2.25F) +
                                   Scalar(103.5, 2, "eval/loss", 9),
                               "events");
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(trace->format, "tensorboard");
  ASSERT_EQ(trace->attempts.size(), 1u);
  const auto& rows = trace->attempts[0].rows;
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].loss, 2.5);
  EXPECT_TRUE(std::isnan(rows[0].grad_norm));
  EXPECT_EQ(rows[2].loss, 2.25);
  EXPECT_THAT(trace->notes, ElementsAre(HasSubstr("wall times")));
}

TEST(TensorBoardTest, ATagThatGoesBackIsANewAttempt) {
  std::string file = Version();
  for (const int step : {1, 2, 3, 2, 3}) {
    file +=
        Scalar(step, step, "loss", 1) + Scalar(step, step, "step_time", 0.5F);
  }
  const auto trace = ReadTrace(file, "events");
  ASSERT_TRUE(trace.ok());
  ASSERT_EQ(trace->attempts.size(), 2u);
  EXPECT_EQ(trace->attempts[1].rows.size(), 2u);
  EXPECT_EQ(trace->StepSeconds(), 0.5);
}

TEST(TensorBoardTest, TensorsOfEachTypeAreScalars) {
  const std::string file =
      Version() + Tensor(1, "f", Key(1, 0) + Varint(1) + Text(4, Bytes(0.5F))) +
      Tensor(2, "f", Key(1, 0) + Varint(2) + Text(4, Bytes(0.25))) +
      Tensor(3, "f", Key(1, 0) + Varint(1) + Text(5, Bytes(2.0F))) +
      Tensor(4, "f", Key(1, 0) + Varint(2) + Key(6, 1) + Bytes(4.0)) +
      Tensor(5, "f", Key(1, 0) + Varint(9) + Text(10, Varint(7))) +
      // 1.5 as half and as bfloat16.
      Tensor(6, "f", Key(1, 0) + Varint(19) + Text(13, Varint(0x3E00))) +
      Tensor(7, "f", Key(1, 0) + Varint(14) + Text(13, Varint(0x3FC0))) +
      // Two elements are no scalar.
      Tensor(8, "f",
             Key(1, 0) + Varint(1) + Text(5, Bytes(2.0F) + Bytes(3.0F)));
  const auto trace = ReadTrace(file, "events");
  ASSERT_TRUE(trace.ok()) << trace.status();
  std::vector<float> values;
  for (const StepRow& row : trace->attempts[0].rows) {
    values.push_back(row.values[0]);
  }
  EXPECT_THAT(values, ElementsAre(0.5F, 0.25F, 2, 4, 7, 1.5F, 1.5F));
}

// Written by tensorboardX 2.6 (simple_value, with a histogram and a text
// between) and by tensorboard 2.x's own Writer (tensors).
TEST(TensorBoardTest, FilesOfRealWriters) {
  const auto read = [](const std::string& name) {
    auto bytes = ReadFile("tests/unit/replay/data/" + name);
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    auto trace = ReadTrace(*bytes, name);
    EXPECT_TRUE(trace.ok()) << trace.status();
    return *std::move(trace);
  };
  const Trace scalars = read("tensorboardx.tfevents");
  ASSERT_EQ(scalars.Rows(), 40);
  const auto& rows = scalars.attempts.at(0).rows;
  EXPECT_NEAR(rows[0].loss, 2.49, 1e-6);
  EXPECT_NEAR(rows[39].grad_norm, 1.4, 1e-6);
  EXPECT_TRUE(std::isnan(rows[34].loss));
  EXPECT_NEAR(scalars.StepSeconds(), 0.5, 1e-6);
  const Trace tensors = read("tensorboard_writer.tfevents");
  ASSERT_EQ(tensors.Rows(), 20);
  EXPECT_NEAR(tensors.attempts.at(0).rows[19].loss, 2.8, 1e-6);
}

TEST(TensorBoardTest, DamagedAndTornRecordsAreLeftOut) {
  std::string damaged = Scalar(2, 2, "loss", 9);
  damaged[damaged.size() - 6] ^= 1;
  const std::string good = Scalar(1, 1, "loss", 1);
  const std::string last = Scalar(3, 3, "loss", 3);
  auto trace = ReadTrace(
      Version() + good + damaged + last + last.substr(0, last.size() - 3),
      "events");
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(trace->Rows(), 2);
  EXPECT_THAT(trace->notes,
              testing::IsSupersetOf(
                  {HasSubstr("cut off"), HasSubstr("1 records do not fit")}));
  std::string lost = last;
  lost[0] ^= 1;
  trace = ReadTrace(Version() + good + lost, "events");
  ASSERT_TRUE(trace.ok());
  EXPECT_THAT(trace->notes, testing::Contains(HasSubstr("length is damaged")));
}

TEST(TensorBoardTest, WithoutScalarsOrHeaderItIsToldSo) {
  EXPECT_THAT(std::string(ReadTrace(Version(), "e").status().message()),
              HasSubstr("without scalars"));
  EXPECT_THAT(
      std::string(
          ReadTensorBoardTrace("no event file at all", "e").status().message()),
      HasSubstr("does not fit its check sum"));
}

}  // namespace
}  // namespace steadyrun::replay
