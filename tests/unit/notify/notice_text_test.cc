// The shapes receivers expect, field by field.

#include "server/notify/notice_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/notify/http_post.h"
#include "server/notify/mail_text.h"

namespace steadyrun {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

const WallTime kStart = FromUnixMillis(1'700'000'000'123);
const NoticeLinks kLinks{"http://steadyrun:7080", "http://docs/runbooks/"};

Incident MakeIncident() {
  Incident incident;
  incident.run = "gpt";
  incident.number = 7;
  incident.kind = IncidentKind::kNodeLost;
  incident.detected = kStart;
  incident.culprit.node = "node-3";
  incident.reason = "silent \xff for 5 s";  // A byte that is no UTF-8.
  return incident;
}

NoticeGroup MakeGroup(NoticeKind kind) {
  NoticeGroup group{"gpt", {{kind, MakeIncident(), {}}}};
  if (kind == NoticeKind::kResolved) {
    group.notices[0].incident.state = IncidentState::kRecovered;
    group.notices[0].incident.recovered = kStart + std::chrono::minutes(2);
  }
  return group;
}

TEST(NoticeTextTest, TheWebhookHasAlertmanagersShape) {
  const json body =
      json::parse(WebhookBody(MakeGroup(NoticeKind::kOpened), kStart, kLinks));
  for (const char* key : {"receiver", "status", "alerts", "groupLabels",
                          "commonLabels", "commonAnnotations", "externalURL",
                          "version", "groupKey", "truncatedAlerts"}) {
    EXPECT_TRUE(body.contains(key)) << key;
  }
  EXPECT_EQ(body["version"], "4");
  EXPECT_EQ(body["status"], "firing");
  const json& alert = body["alerts"][0];
  EXPECT_EQ(alert["labels"]["alertname"], "SteadyrunNodeLost");
  EXPECT_EQ(alert["labels"]["incident_id"], "gpt:7");
  EXPECT_EQ(alert["startsAt"], "2023-11-14T22:13:20.123Z");
  EXPECT_EQ(alert["endsAt"], "0001-01-01T00:00:00Z");
  EXPECT_EQ(alert["annotations"]["node"], "node-3");
  EXPECT_EQ(alert["annotations"]["runbook_url"],
            "http://docs/runbooks/node_lost.md");
  EXPECT_EQ(body["commonLabels"]["run"], "gpt");
}

TEST(NoticeTextTest, AResolvedOneHasTheSameFingerprintAndAnEnd) {
  const json opened =
      json::parse(WebhookBody(MakeGroup(NoticeKind::kOpened), kStart, kLinks));
  const json resolved = json::parse(
      WebhookBody(MakeGroup(NoticeKind::kResolved), kStart, kLinks));
  EXPECT_EQ(resolved["status"], "resolved");
  EXPECT_EQ(resolved["alerts"][0]["endsAt"], "2023-11-14T22:15:20.123Z");
  EXPECT_EQ(resolved["alerts"][0]["fingerprint"],
            opened["alerts"][0]["fingerprint"]);
  EXPECT_EQ(resolved["alerts"][0]["labels"], opened["alerts"][0]["labels"]);
}

TEST(NoticeTextTest, CommonLabelsAreThoseThatAllHave) {
  NoticeGroup group = MakeGroup(NoticeKind::kOpened);
  group.notices.push_back(group.notices[0]);
  group.notices[1].incident.number = 8;
  const json body = json::parse(WebhookBody(group, kStart, kLinks));
  EXPECT_EQ(body["commonLabels"].count("incident_id"), 0u);
  EXPECT_EQ(body["commonLabels"]["kind"], "node_lost");
}

TEST(NoticeTextTest, AlertmanagerGetsOpenOnesAndTheLatelyResolved) {
  Incident open = MakeIncident();
  Incident lately = MakeIncident();
  lately.number = 8;
  lately.state = IncidentState::kRecovered;
  lately.recovered = kStart + std::chrono::minutes(6);
  Incident long_ago = lately;
  long_ago.number = 9;
  long_ago.recovered = kStart;
  const WallTime now = kStart + std::chrono::minutes(10);
  const json body = json::parse(AlertmanagerBody(
      {open, lately, long_ago}, {{"bert", kStart, "out of restarts"}}, now,
      std::chrono::minutes(1), kLinks));
  ASSERT_EQ(body.size(), 3u);
  EXPECT_EQ(body[0]["endsAt"], "2023-11-14T22:27:20.123Z");  // now + 4 min
  EXPECT_EQ(body[1]["endsAt"], "2023-11-14T22:19:20.123Z");
  EXPECT_EQ(body[0]["generatorURL"],
            "http://steadyrun:7080/api/v1/incidents/gpt:7");
  EXPECT_EQ(body[2]["labels"]["alertname"], "SteadyrunRunHalted");
  EXPECT_EQ(body[2]["labels"]["run"], "bert");
  EXPECT_EQ(
      AlertmanagerBody({long_ago}, {}, now, std::chrono::minutes(1), kLinks),
      "");
}

TEST(NoticeTextTest, PagerDutyTriggersAndResolvesUnderOneKey) {
  const json opened = json::parse(PagerDutyBody(
      MakeGroup(NoticeKind::kOpened).notices[0], "gpt", "key", kLinks));
  const json resolved = json::parse(PagerDutyBody(
      MakeGroup(NoticeKind::kResolved).notices[0], "gpt", "key", kLinks));
  EXPECT_EQ(opened["routing_key"], "key");
  EXPECT_EQ(opened["event_action"], "trigger");
  EXPECT_EQ(resolved["event_action"], "resolve");
  EXPECT_EQ(opened["dedup_key"], resolved["dedup_key"]);
  EXPECT_EQ(opened["payload"]["severity"], "critical");
  EXPECT_EQ(opened["payload"]["source"], "gpt");
  EXPECT_LE(opened["payload"]["summary"].get<std::string>().size(), 1024u);
}

TEST(NoticeTextTest, SlackGetsOneTextWithABound) {
  NoticeGroup group = MakeGroup(NoticeKind::kOpened);
  group.notices.resize(100, group.notices[0]);
  for (Notice& notice : group.notices) {
    notice.incident.reason = std::string(10'000, 'x');
  }
  const json body = json::parse(SlackBody(group, kLinks));
  const auto text = body["text"].get<std::string>();
  EXPECT_LT(text.size(), 30'000u);
  EXPECT_THAT(text, HasSubstr("and 80 more"));
}

TEST(NoticeTextTest, AMailCannotBeGivenHeadersByWhatARunSays) {
  NoticeGroup group{"gpt", {}};
  Notice page{NoticeKind::kPage, {}, {}};
  page.page.text = "bad\r\nBcc: all@example.org";
  group.run = "gpt\r\nBcc: evil@example.org";
  group.notices.push_back(page);
  const std::string mail = MailText(group, "a@example.org", "b@example.org",
                                    kStart, "id@steadyrun", {});
  const std::string head = mail.substr(0, mail.find("\r\n\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nTo: b@example.org\r\n"));
  EXPECT_EQ(head.find("\r\nBcc:"), std::string::npos);
  EXPECT_EQ(mail.find('\n') - 1, mail.find('\r'));
}

TEST(NoticeTextTest, AMailHasShortLinesOfAscii) {
  NoticeGroup group{"gpt", {}};
  Notice page{NoticeKind::kPage, {}, {}};
  page.page.text = "3\u00d7 = " + std::string(900, 'x') + " \n.\nend ";
  group.notices.push_back(page);
  const std::string mail = MailText(group, "a@example.org", "b@example.org",
                                    kStart, "id@steadyrun", {});
  const std::string body = mail.substr(mail.find("\r\n\r\n") + 4);
  EXPECT_THAT(body, HasSubstr("3=C3=97 =3D xxx"));
  EXPECT_THAT(body, HasSubstr("=20\r\n.\r\nend=20\r\n"));
  std::size_t begin = 0;
  while (begin < body.size()) {
    const std::size_t end = body.find("\r\n", begin);
    ASSERT_NE(end, std::string::npos);
    EXPECT_LE(end - begin, 76u);
    begin = end + 2;
  }
}

TEST(NoticeTextTest, TheSignatureIsThatOfTheTimeAndTheBody) {
  // printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
  EXPECT_EQ(SignatureHeader("secret", "{}", kStart),
            "t=1700000000,v1="
            "b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163");
}

}  // namespace
}  // namespace steadyrun
