// A body as Alertmanager 0.25 sends it, and bodies as nobody should.

#include "server/web/alert_hook.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace steadyrun {
namespace {

using ::testing::HasSubstr;

constexpr char kHook[] = R"({"receiver":"steadyrun","status":"firing","alerts":[
  {"status":"firing","labels":{"alertname":"LinkDown","instance":"node-3:9100",
    "severity":"critical"},"annotations":{"summary":"A link is down."},
    "startsAt":"2026-01-02T03:04:05.678Z","endsAt":"0001-01-01T00:00:00Z",
    "generatorURL":"http://p/g","fingerprint":"aa"},
  {"status":"resolved","labels":{"alertname":"Quota","run":"gpt"},
    "annotations":{"description":"95 %","summary":"no"},
    "startsAt":"2026-01-02T03:04:05Z","endsAt":"2026-01-02T04:04:05Z",
    "fingerprint":"bb"},
  {"status":"firing","labels":{"alertname":"SteadyrunHang","run":"gpt"},
    "annotations":{},"startsAt":"2026-01-02T03:04:05Z","fingerprint":"cc"}],
  "groupLabels":{},"commonLabels":{},"commonAnnotations":{},
  "externalURL":"http://am","version":"4","groupKey":"{}:{}",
  "truncatedAlerts":0})";

TEST(AlertHookTest, WhatAlertmanagerSendsIsRead) {
  const auto alerts = ReadAlertHook(kHook);
  ASSERT_TRUE(alerts.ok()) << alerts.status();
  ASSERT_EQ(alerts->size(), 2u);  // Our own has come back; it is left out.
  const SiteAlert& link = (*alerts)[0];
  EXPECT_EQ(link.name, "LinkDown");
  EXPECT_EQ(link.node, "node-3");
  EXPECT_EQ(link.text, "A link is down.");
  EXPECT_EQ(ToUnixMillis(link.starts), 1767323045678);
  EXPECT_EQ(link.ends, WallTime());
  const SiteAlert& quota = (*alerts)[1];
  EXPECT_EQ(quota.run, "gpt");
  EXPECT_EQ(quota.text, "95 %");
  EXPECT_EQ(quota.ends - quota.starts, std::chrono::hours(1));
}

TEST(AlertHookTest, RubbishIsRefusedByName) {
  for (const char* body :
       {"", "[]", "{", "null", R"({"alerts":{}})", "\xff\xfe"}) {
    EXPECT_THAT(std::string(ReadAlertHook(body).status().message()),
                HasSubstr("webhook of Alertmanager"))
        << body;
  }
  EXPECT_THAT(
      std::string(
          ReadAlertHook(R"({"alerts":[{"labels":3}]})").status().message()),
      HasSubstr("labels"));
  EXPECT_THAT(std::string(ReadAlertHook(
                              R"({"alerts":[{"labels":{},"startsAt":"now"}]})")
                              .status()
                              .message()),
              HasSubstr("startsAt"));
}

TEST(AlertHookTest, NumbersAndTextsHaveBounds) {
  std::string body = R"({"alerts":[)";
  const std::string text(10'000, 'x');
  for (int i = 0; i < 1'000; ++i) {
    body +=
        (i == 0 ? "" : ",") + (R"({"labels":{"alertname":")" + text) + R"("}})";
  }
  const auto alerts = ReadAlertHook(body + "]}");
  ASSERT_TRUE(alerts.ok());
  EXPECT_EQ(alerts->size(), kMaxHookAlerts);
  EXPECT_LE((*alerts)[0].name.size(), 500u);
}

}  // namespace
}  // namespace steadyrun
