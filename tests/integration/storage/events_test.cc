// Events and what sinks were told, in the real database.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/storage/event_table.h"
#include "tests/integration/storage/fixture.h"

namespace steadyrun {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Incident MakeIncident(std::int64_t number) {
  Incident incident;
  incident.run = "gpt";
  incident.number = number;
  incident.kind = IncidentKind::kHang;
  incident.reason = "nobody advances";
  incident.detected = FromUnixMillis(1'700'000'000'000);
  return incident;
}

class EventsTest : public StoreTest {
 protected:
  void SetUp() override {
    Open();
    LoadAll();
  }
  std::vector<std::string> Texts(std::int64_t after = 0) {
    std::vector<std::string> texts;
    EventQuery query;
    query.after = after;
    for (const StoredEvent& event : *store_->events().Events(query)) {
      texts.push_back(event.kind + " " + event.state);
    }
    return texts;
  }
};

TEST_F(EventsTest, AnIncidentIsAnEventWhenItsStateChanges) {
  Incident incident = MakeIncident(1);
  Apply({incident});
  incident.evidence = {"one more line"};
  Apply({incident});
  incident.severity = Severity::kWarning;
  Apply({incident});
  incident.state = IncidentState::kRecovered;
  Apply({incident, Decision{"gpt", {}, 1, clock_.WallNow(), "restart", "why"}});
  EXPECT_THAT(Texts(), ElementsAre("incident open", "incident open",
                                   "incident recovered", "decision restart"));
  EXPECT_THAT(Texts(3), ElementsAre("decision restart"));
  EXPECT_EQ(*store_->events().NewestEvent(), 4);
}

TEST_F(EventsTest, NumbersGoOnAfterARestartAndAfterPruning) {
  Apply({Page{"gpt", 0, "one"}, Page{"gpt", 0, "two"}});
  clock_.Advance(std::chrono::hours(24 * 400));
  RunMaintenance();
  EXPECT_THAT(Texts(), IsEmpty());
  Open();
  LoadAll();
  Apply({Page{"gpt", 0, "three"}});
  const auto events = store_->events().Events({});
  ASSERT_EQ(events->size(), 1u);
  EXPECT_EQ(events->front().seq, 3);
}

TEST_F(EventsTest, ASinkIsGivenWhatItWasNotTold) {
  Incident incident = MakeIncident(1);
  Apply({incident, Page{"gpt", 1, "before the sink was there"}});
  NoticeFacts facts = *store_->notices().Read("slack", clock_.WallNow());
  EXPECT_EQ(facts.incidents.size(), 1u);
  EXPECT_THAT(facts.pages, IsEmpty());
  EXPECT_EQ(facts.since, clock_.WallNow());

  Apply({Page{"gpt", 1, "halted"}});
  ASSERT_TRUE(
      store_->notices().MarkTold("slack", incident, clock_.WallNow()).ok());
  Open();  // A restart between telling and noting the page.
  LoadAll();
  facts = *store_->notices().Read("slack", clock_.WallNow());
  ASSERT_EQ(facts.pages.size(), 1u);
  EXPECT_EQ(facts.pages[0].text, "halted");
  ASSERT_EQ(facts.told.count({"gpt", 1}), 1u);
  EXPECT_EQ((facts.told[{"gpt", 1}].kind), IncidentKind::kHang);
  ASSERT_TRUE(store_->notices().MarkPages("slack", facts.pages[0].seq).ok());
  EXPECT_THAT(store_->notices().Read("slack", clock_.WallNow())->pages,
              IsEmpty());
}

// It was told as open; its end must reach the sink however late that works.
TEST_F(EventsTest, AnEndedIncidentIsGivenUntilItsEndIsTold) {
  Incident incident = MakeIncident(1);
  Apply({incident});
  store_->notices().Read("slack", clock_.WallNow()).IgnoreError();
  ASSERT_TRUE(
      store_->notices().MarkTold("slack", incident, clock_.WallNow()).ok());
  clock_.Advance(std::chrono::hours(72));
  incident.state = IncidentState::kClosed;
  Apply({incident});
  clock_.Advance(std::chrono::hours(72));
  const WallTime now = clock_.WallNow();
  EXPECT_EQ(store_->notices().Read("slack", now)->incidents.size(), 1u);
  ASSERT_TRUE(store_->notices().MarkTold("slack", incident, now).ok());
  EXPECT_THAT(store_->notices().Read("slack", now)->incidents, IsEmpty());
}

TEST_F(EventsTest, MutesAreKeptAndReplaced) {
  const WallTime until = clock_.WallNow() + std::chrono::hours(2);
  Apply({Mute{"gpt", until, "ann", "maintenance"}});
  EXPECT_EQ(store_->notices().Read("x", until)->muted_until["gpt"], until);
  Apply({Mute{"gpt", clock_.WallNow(), "ann", "done"}});
  EXPECT_EQ(store_->notices().Read("x", until)->muted_until["gpt"],
            clock_.WallNow());
  EXPECT_THAT(Texts(), ElementsAre("mute on", "mute off"));
}

TEST_F(EventsTest, SiteAlertsAreFoundByRunAndNodeAndTime) {
  const WallTime start = clock_.WallNow();
  const auto minutes = [](int n) { return std::chrono::minutes(n); };
  SiteAlert link{"f1", "LinkDown", "critical", "", "node-3", start, {}, "x"};
  SiteAlert other{"f2", "LinkDown", "critical", "", "node-9", start, {}, "x"};
  SiteAlert quota{"f3", "Quota", "warning", "gpt", "", start, {}, "x"};
  ASSERT_TRUE(store_->notices().Save({link, other, quota}).ok());
  SiteAlertQuery query;
  query.run = "gpt";
  query.nodes = {"node-3", ""};
  query.from = start + minutes(5);
  query.to = start + minutes(6);
  EXPECT_EQ(store_->notices().Find(query)->size(), 2u);
  link.ends = start + minutes(1);  // Resolved before.
  ASSERT_TRUE(store_->notices().Save({link}).ok());
  const auto found = store_->notices().Find(query);
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(found->front().name, "Quota");
}

}  // namespace
}  // namespace steadyrun
