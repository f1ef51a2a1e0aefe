#include "agent/logs/scalar_dir.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "agent/logs/event_record.h"

namespace steadyrun::agent {
namespace {

namespace fs = std::filesystem;
using ::testing::SizeIs;

template <typename T>
std::string Bytes(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

std::string Field(int number, int type, const std::string& content) {
  return static_cast<char>(number << 3 | type) + content;
}
std::string Message(int number, const std::string& content) {
  return Field(number, 2, static_cast<char>(content.size()) + content);
}

std::string Record(const std::string& data) {
  const std::string size = Bytes<std::uint64_t>(data.size());
  return size + Bytes(MaskedCrc32c(size)) + data + Bytes(MaskedCrc32c(data));
}

// One scalar, as SummaryWriter writes it. Steps below 128 are one byte.
std::string Scalar(const std::string& tag, char step, float value,
                   double wall_time) {
  const std::string scalar = Message(1, tag) + Field(2, 5, Bytes(value));
  return Record(Field(1, 1, Bytes(wall_time)) + Field(2, 0, {step}) +
                Message(5, Message(1, scalar)));
}

class ScalarDirTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(::testing::TempDir()) /
            ("scalar_dir_test." + std::to_string(::getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_ / "runs" / "a");
  }
  void TearDown() override { fs::remove_all(root_); }

  ScalarDirReader Reader(ScalarDirOptions::Kind kind, bool is_new = true) {
    ScalarDirOptions options;
    options.run = "run";
    options.attempt = AttemptId{1};
    options.rank = Rank{0};
    options.kind = kind;
    options.directory = (root_ / "runs").string();
    options.cursor_path = (root_ / "cursor").string();
    options.is_new = is_new;
    return ScalarDirReader(options);
  }
  void Write(const std::string& name, const std::string& bytes) {
    std::ofstream(root_ / "runs" / "a" / name, std::ios::app | std::ios::binary)
        << bytes;
  }
  static std::string Text(const std::vector<Event>& events) {
    std::string text;
    for (const Event& event : events) {
      const StepBlock& block = std::get<StepsRead>(event).block;
      std::vector<std::string> values;
      for (std::size_t m = 0; m < block.metrics.size(); ++m) {
        const std::uint32_t metric = block.metrics[m];
        const std::string name = metric >= kFirstNamedMetric
                                     ? block.names[metric - kFirstNamedMetric]
                                     : "#" + std::to_string(metric);
        char number[32];
        std::snprintf(number, sizeof number, "%.4g", block.values[m]);
        values.push_back(name + "=" + number);
      }
      std::sort(values.begin(), values.end());  // Files come in any order.
      text += std::to_string(block.step.value) + "{";
      for (const std::string& value : values) text += value + " ";
      text.back() = '}';
      text += " ";
    }
    return text;
  }
  std::string Poll(ScalarDirReader& reader, double seconds = 10) {
    now_ += FromSeconds(seconds);
    return Text(reader.Poll({now_, FromUnixMillis(5000)}));
  }

  static constexpr auto kTensorBoard = ScalarDirOptions::Kind::kTensorBoard;
  static constexpr auto kCsv = ScalarDirOptions::Kind::kDeepSpeedCsv;
  fs::path root_;
  MonoTime now_{std::chrono::seconds(1)};
};

TEST_F(ScalarDirTest, EventsOfAStepAreToldTogetherOnceTheyAreQuiet) {
  ScalarDirReader reader = Reader(kTensorBoard);
  Write("events.out.tfevents.1", Scalar("train/loss", 1, 2.5f, 100));
  EXPECT_EQ(Poll(reader), "");
  Write("events.out.tfevents.1", Scalar("train/reward", 1, 0.5f, 101) +
                                     Scalar("train/loss", 2, 2.25f, 104));
  EXPECT_EQ(Poll(reader, 1), "");
  EXPECT_EQ(Poll(reader),
            "1{#2=2.5 train/loss=2.5 train/reward=0.5} "
            "2{#1=3 #2=2.25 train/loss=2.25} ");
  EXPECT_EQ(reader.last_step(), Step{2});
}

TEST_F(ScalarDirTest, ATornRecordIsReadWhenItIsWhole) {
  ScalarDirReader reader = Reader(kTensorBoard);
  const std::string record = Scalar("loss", 1, 2.5f, 100);
  for (const char byte : record) {
    EXPECT_EQ(Poll(reader, 6), "");
    Write("events.out.tfevents.1", std::string(1, byte));
  }
  EXPECT_EQ(Poll(reader), "");
  EXPECT_EQ(Poll(reader), "1{#2=2.5} ");
}

TEST_F(ScalarDirTest, DamageEndsOneFileAndAnImageIsPassedOver) {
  ScalarDirReader reader = Reader(kTensorBoard);
  Write("events.out.tfevents.1",
        Record(std::string(600'000, 'x')) + Scalar("loss", 1, 2.5f, 100));
  Write("events.out.tfevents.2", std::string(5000, 'x'));
  for (int i = 0; i < 4; ++i) Poll(reader, 1);
  Write("events.out.tfevents.2", Scalar("loss", 5, 2.5f, 100));
  Write("events.out.tfevents.1", Scalar("loss", 3, 2.0f, 100));
  Poll(reader);
  EXPECT_EQ(Poll(reader), "3{#2=2} ");
  bool is_told = false;
  for (const std::string& note : reader.TakeNotes()) {
    is_told |= note.find("is damaged") != std::string::npos;
  }
  EXPECT_TRUE(is_told);
}

TEST_F(ScalarDirTest, WhatAnEarlierAttemptWroteIsNotRead) {
  Write("events.out.tfevents.1", Scalar("loss", 1, 2.5f, 100));
  ScalarDirReader reader = Reader(kTensorBoard);
  Write("events.out.tfevents.1", Scalar("loss", 2, 2.25f, 104));
  Write("events.out.tfevents.2", Scalar("loss", 3, 2.0f, 108));
  Poll(reader);
  EXPECT_EQ(Poll(reader), "2{#2=2.25} 3{#1=4 #2=2} ");
}

TEST_F(ScalarDirTest, ASuccessorReadsOn) {
  {
    ScalarDirReader reader = Reader(kTensorBoard);
    Write("events.out.tfevents.1", Scalar("loss", 1, 2.5f, 100));
    Poll(reader);
    EXPECT_EQ(reader.Cursor(), "");  // A step is held.
    EXPECT_EQ(Poll(reader), "1{#2=2.5} ");
    reader.WriteCursor(reader.Cursor());
  }
  Write("events.out.tfevents.1", Scalar("loss", 2, 2.25f, 104));
  Write("events.out.tfevents.2", Scalar("loss", 3, 2.0f, 108));
  ScalarDirReader successor = Reader(kTensorBoard, /*is_new=*/false);
  EXPECT_EQ(successor.last_step(), Step{1});
  Poll(successor);
  EXPECT_EQ(Poll(successor), "2{#2=2.25} 3{#1=4 #2=2} ");
}

TEST_F(ScalarDirTest, DeepSpeedsCsvIsJoinedOverItsFiles) {
  ScalarDirReader reader = Reader(kCsv);
  Write("Train_Samples_train_loss.csv", "step,train_loss\r\n64,2.5\r\n");
  Write("Train_Samples_lr.csv", "step,lr\r\n64,0.5\r\n128,0.2");
  Write("notes.txt", "step,x\n1,2\n");
  Poll(reader);
  EXPECT_EQ(Poll(reader), "64{#2=2.5 #6=0.5} ");
  Write("Train_Samples_lr.csv", "5\r\nstep,lr\r\n");
  Write("Train_Samples_train_loss.csv",
        "128,nan\r\nbad line\r\n,,\r\n-1,2\r\n");
  Poll(reader);
  EXPECT_EQ(Poll(reader), "128{#2=nan #6=0.25} ");
  fs::remove(root_ / "cursor");  // A rank of the next attempt has its own.
  ScalarDirReader successor = Reader(kCsv);
  Write("Train_Samples_lr.csv", "192,0.125\r\n");
  now_ += std::chrono::seconds(6);
  EXPECT_EQ(Text(successor.Drain({now_, {}})), "192{#6=0.125} ");
}

TEST_F(ScalarDirTest, ADirectoryThatComesLaterIsFound) {
  fs::remove_all(root_ / "runs");
  ScalarDirReader reader = Reader(kTensorBoard);
  EXPECT_EQ(Poll(reader), "");
  fs::create_directories(root_ / "runs" / "a");
  Write("events.out.tfevents.1", Scalar("loss", 1, 2.5f, 100));
  Poll(reader);
  EXPECT_EQ(Poll(reader), "1{#2=2.5} ");
}

}  // namespace
}  // namespace steadyrun::agent
