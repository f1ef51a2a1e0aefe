// Which notifications are due: pure, with the time as an argument.

#include "server/notify/notice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace steadyrun {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const WallTime kStart = FromUnixMillis(1'700'000'000'000);

Incident MakeIncident(std::int64_t number, WallTime detected,
                      Severity severity = Severity::kCritical) {
  Incident incident;
  incident.run = "gpt";
  incident.number = number;
  incident.kind = IncidentKind::kHang;
  incident.severity = severity;
  incident.detected = detected;
  return incident;
}

class NoticeTest : public testing::Test {
 protected:
  // Words of what is due at `at`; remembers it as told, as the notifier does.
  std::vector<std::string> Tell(WallTime at) {
    std::vector<std::string> words;
    for (const NoticeGroup& group : PlanNotices(facts_, at, options_)) {
      for (const Notice& notice : group.notices) {
        words.push_back(std::string(NoticeKindName(notice.kind)));
        if (notice.kind == NoticeKind::kPage) continue;
        const Incident& one = notice.incident;
        facts_.told[{one.run, one.number}] = {one.kind, one.state, one.severity,
                                              at};
      }
    }
    return words;
  }
  void End(std::size_t index, WallTime at) {
    facts_.incidents[index].state = IncidentState::kRecovered;
    facts_.incidents[index].recovered = at;
  }

  NoticeFacts facts_;
  NoticeOptions options_;
};

TEST_F(NoticeTest, OnceForEachChangeOfState) {
  facts_.incidents = {MakeIncident(1, kStart, Severity::kWarning)};
  EXPECT_THAT(Tell(kStart), ElementsAre("opened"));
  EXPECT_THAT(Tell(kStart + minutes(1)), IsEmpty());
  facts_.incidents[0].severity = Severity::kCritical;
  EXPECT_THAT(Tell(kStart + minutes(2)), ElementsAre("escalated"));
  EXPECT_THAT(Tell(kStart + minutes(3)), IsEmpty());
  End(0, kStart + minutes(4));
  EXPECT_THAT(Tell(kStart + minutes(4)), ElementsAre("resolved"));
  EXPECT_THAT(Tell(kStart + hours(10)), IsEmpty());
}

TEST_F(NoticeTest, AnOpenOneIsToldAgainAfterFourHours) {
  facts_.incidents = {MakeIncident(1, kStart)};
  Tell(kStart);
  EXPECT_THAT(Tell(kStart + hours(4) - seconds(1)), IsEmpty());
  EXPECT_THAT(Tell(kStart + hours(4)), ElementsAre("still open"));
  EXPECT_THAT(Tell(kStart + hours(7)), IsEmpty());
  EXPECT_THAT(Tell(kStart + hours(8)), ElementsAre("still open"));
}

TEST_F(NoticeTest, WhatComesAndGoesIsToldOnceAWindow) {
  // A hang every minute, each mended after half of one, for an hour: 120
  // changes of state.
  std::size_t all = 0;
  for (int i = 0; i < 60; ++i) {
    const WallTime at = kStart + minutes(i);
    facts_.incidents.push_back(MakeIncident(i + 1, at));
    all += Tell(at).size();
    End(facts_.incidents.size() - 1, at + seconds(30));
    all += Tell(at + seconds(30)).size();
  }
  EXPECT_GE(all, 6u);
  EXPECT_LE(all, 12u);
}

TEST_F(NoticeTest, AnotherOfAKindThatStaysIsToldWhenTheWindowEnds) {
  facts_.incidents = {MakeIncident(1, kStart)};
  Tell(kStart);
  End(0, kStart + minutes(1));
  Tell(kStart + minutes(1));
  facts_.incidents.push_back(MakeIncident(2, kStart + minutes(2)));
  EXPECT_THAT(Tell(kStart + minutes(2)), IsEmpty());
  EXPECT_THAT(Tell(kStart + minutes(11)), ElementsAre("opened"));
}

TEST_F(NoticeTest, AMoreSevereOneIsToldAtOnce) {
  facts_.incidents = {MakeIncident(1, kStart, Severity::kWarning)};
  Tell(kStart);
  facts_.incidents.push_back(MakeIncident(2, kStart + minutes(1)));
  EXPECT_THAT(Tell(kStart + minutes(1)), ElementsAre("opened"));
}

TEST_F(NoticeTest, AMutedRunIsSilentAndAfterwardsOnlyWhatIsOpenIsTold) {
  facts_.incidents = {MakeIncident(1, kStart), MakeIncident(2, kStart)};
  facts_.incidents[1].kind = IncidentKind::kCrash;
  facts_.pages.push_back({1, kStart, "page", "gpt", 1, "", "", "look"});
  facts_.muted_until["gpt"] = kStart + hours(2);
  EXPECT_THAT(Tell(kStart + hours(1)), IsEmpty());
  End(1, kStart + hours(1));
  facts_.pages.clear();  // As the store does: its number is passed.
  EXPECT_THAT(Tell(kStart + hours(2)), ElementsAre("opened"));
}

TEST_F(NoticeTest, TheEndOfWhatWasToldBeforeTheMuteIsToldAfterIt) {
  facts_.incidents = {MakeIncident(1, kStart)};
  Tell(kStart);
  facts_.muted_until["gpt"] = kStart + hours(1);
  End(0, kStart + minutes(30));
  EXPECT_THAT(Tell(kStart + minutes(40)), IsEmpty());
  EXPECT_THAT(Tell(kStart + hours(1)), ElementsAre("resolved"));
}

TEST_F(NoticeTest, WhatEndedBeforeTheSinkWasThereIsOldNews) {
  facts_.since = kStart;
  facts_.incidents = {MakeIncident(1, kStart - hours(2)),
                      MakeIncident(2, kStart - hours(2))};
  facts_.incidents[1].kind = IncidentKind::kCrash;
  End(0, kStart - hours(1));
  EXPECT_THAT(Tell(kStart), ElementsAre("opened"));
}

TEST_F(NoticeTest, WhatCameAndWentWhileTheSinkWasAwayIsToldOnce) {
  facts_.since = kStart;
  facts_.incidents = {MakeIncident(1, kStart + minutes(1))};
  End(0, kStart + minutes(2));
  EXPECT_THAT(Tell(kStart + hours(1)), ElementsAre("resolved"));
  EXPECT_THAT(Tell(kStart + hours(2)), IsEmpty());
}

TEST_F(NoticeTest, TooMildIsNotTold) {
  facts_.incidents = {MakeIncident(1, kStart, Severity::kInfo)};
  EXPECT_THAT(Tell(kStart), IsEmpty());
  options_.min_severity = Severity::kInfo;
  EXPECT_THAT(Tell(kStart), ElementsAre("opened"));
}

TEST_F(NoticeTest, GroupsAreByRun) {
  facts_.incidents = {MakeIncident(1, kStart), MakeIncident(2, kStart),
                      MakeIncident(1, kStart)};
  facts_.incidents[1].kind = IncidentKind::kNan;
  facts_.incidents[2].run = "bert";
  facts_.pages.push_back({9, kStart, "page", "", 0, "", "", "disk full"});
  const auto plan = PlanNotices(facts_, kStart, options_);
  ASSERT_EQ(plan.size(), 3u);
  EXPECT_EQ(plan[0].run, "");
  EXPECT_EQ(plan[1].run, "bert");
  EXPECT_EQ(plan[2].notices.size(), 2u);
}

}  // namespace
}  // namespace steadyrun
