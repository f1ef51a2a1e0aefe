// One ring, many viewers: order, replay, falling behind, the bounds.

#include "server/web/event_hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// "id: X" of the last event in a piece.
std::string LastId(const std::string& piece) {
  const std::size_t at = piece.rfind("id: ");
  return piece.substr(at + 4, piece.find('\n', at) - at - 4);
}

TEST(EventHubTest, ANewViewerHearsWhatComesNow) {
  EventHub hub;
  hub.Publish("run", R"({"step":1})");
  const auto viewer = *hub.Subscribe("");
  EXPECT_EQ(viewer->Next(), "");
  hub.Publish("run", R"({"step":2})");
  const std::string piece = viewer->Next();
  EXPECT_THAT(piece, HasSubstr("event: run\ndata: {\"step\":2}\n\n"));
  EXPECT_THAT(piece, Not(HasSubstr("\"step\":1")));
  EXPECT_EQ(viewer->Next(), "");
}

TEST(EventHubTest, WhoComesBackHearsWhatItMissed) {
  EventHub hub;
  auto viewer = *hub.Subscribe("");
  hub.Publish("run", "1");
  const std::string id = LastId(viewer->Next());
  viewer.reset();
  hub.Publish("run", "2");
  hub.Publish("run", "3");
  const std::string piece = (*hub.Subscribe(id))->Next();
  EXPECT_THAT(piece, HasSubstr("data: 2"));
  EXPECT_THAT(piece, HasSubstr("data: 3"));
  EXPECT_THAT(piece, Not(HasSubstr("data: 1")));
  EXPECT_THAT(piece, Not(HasSubstr("resync")));
}

TEST(EventHubTest, WhatIsNoLongerThereIsAResync) {
  EventHubOptions options;
  options.max_events = 4;
  EventHub hub(options);
  auto viewer = *hub.Subscribe("");
  hub.Publish("run", "0");
  const std::string old = LastId(viewer->Next());
  for (int i = 1; i < 20; ++i) hub.Publish("run", std::to_string(i));
  // It was too slow; and the others come back too late, from an earlier life
  // of the server, from the future, or with nonsense.
  EXPECT_THAT(viewer->Next(), HasSubstr("event: resync"));
  EXPECT_EQ(viewer->Next(), "");
  const std::string life = old.substr(0, old.find('-'));
  for (const std::string& id :
       {old, std::string("0123456789abcdef-1"), life + "-99999", life + "-x",
        std::string("-"), std::string(5000, 'a')}) {
    EXPECT_THAT((*hub.Subscribe(id))->Next(), HasSubstr("event: resync")) << id;
  }
}

TEST(EventHubTest, MemoryAndPiecesAreBounded) {
  EventHubOptions options;
  options.max_bytes = 10'000;
  options.max_piece_bytes = 1'000;
  EventHub hub(options);
  const auto viewer = *hub.Subscribe("");
  for (int i = 0; i < 9; ++i) hub.Publish("run", std::string(400, 'x'));
  for (std::string piece = viewer->Next(); !piece.empty();
       piece = viewer->Next()) {
    EXPECT_LE(piece.size(), options.max_piece_bytes);
  }
  for (int i = 0; i < 1000; ++i) hub.Publish("run", std::string(400, 'x'));
  std::size_t kept = 0;
  const auto late = *hub.Subscribe("");
  EXPECT_THAT(viewer->Next(), HasSubstr("resync"));
  EXPECT_EQ(late->Next(), "");
  // One event above the limit is still told.
  hub.Publish("run", std::string(20'000, 'y'));
  kept = late->Next().size();
  EXPECT_GT(kept, 20'000u);
}

TEST(EventHubTest, ViewersAreCappedAndLeave) {
  EventHubOptions options;
  options.max_viewers = 2;
  EventHub hub(options);
  auto first = *hub.Subscribe("");
  const auto second = *hub.Subscribe("");
  EXPECT_TRUE(absl::IsResourceExhausted(hub.Subscribe("").status()));
  first.reset();
  EXPECT_EQ(hub.Viewers(), 1u);
  EXPECT_TRUE(hub.Subscribe("").ok());
}

TEST(EventHubTest, OnlyThoseWhoWaitAreWoken) {
  EventHub hub;
  const auto viewer = *hub.Subscribe("");
  int woken = 0;
  viewer->SetWake([&woken] { ++woken; });
  hub.Publish("run", "1");
  EXPECT_EQ(woken, 0);  // It has not said that it waits.
  EXPECT_NE(viewer->Next(), "");
  EXPECT_EQ(viewer->Next(), "");
  hub.Publish("run", "2");
  hub.Publish("run", "3");
  EXPECT_EQ(woken, 1);
}

}  // namespace
}  // namespace steadyrun
