#include "base/config_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace steadyrun {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

std::string MessageOf(ConfigReader& reader) {
  return std::string(reader.Finish().message());
}

TEST(ConfigReaderTest, ReadsEveryTypeAndLeavesDefaultsWhereAKeyIsAbsent) {
  ConfigReader reader(R"(
name = "a"
[server]
on = true
port = 7070
share = 0.25
whole = 3
timeout = "1m30s"
wait = 2.5
hosts = ["x", "y"]
backoff = ["1s", 5]
[labels]
"any thing" = "goes"
)",
                      "a.toml");
  std::string name = "default";
  std::string absent = "kept";
  bool on = false;
  std::int64_t port = 0;
  std::int32_t small = 7;
  double share = 0;
  double whole = 0;
  Duration timeout{};
  Duration wait{};
  std::vector<std::string> hosts;
  std::vector<Duration> backoff;
  std::map<std::string, std::string> labels;

  EXPECT_TRUE(reader.ReadText("name", &name));
  EXPECT_FALSE(reader.ReadText("server.absent", &absent));
  EXPECT_TRUE(reader.ReadBool("server.on", &on));
  EXPECT_TRUE(reader.ReadInt("server.port", &port, {1, 65535}));
  EXPECT_FALSE(reader.ReadInt32("server.small", &small, {1, 9}));
  EXPECT_TRUE(reader.ReadDouble("server.share", &share, {0, 1}));
  EXPECT_TRUE(reader.ReadDouble("server.whole", &whole, {0, 10}));
  EXPECT_TRUE(
      reader.ReadDuration("server.timeout", &timeout, {seconds(0), hours(1)}));
  EXPECT_TRUE(
      reader.ReadDuration("server.wait", &wait, {seconds(0), hours(1)}));
  EXPECT_TRUE(reader.ReadTextList("server.hosts", &hosts, 4));
  EXPECT_TRUE(reader.ReadDurationList("server.backoff", &backoff,
                                      {seconds(0), hours(1)}, 4));
  EXPECT_TRUE(reader.ReadTextMap("labels", &labels, 4));

  EXPECT_TRUE(reader.Finish().ok()) << reader.Finish();
  EXPECT_EQ(name, "a");
  EXPECT_EQ(absent, "kept");
  EXPECT_TRUE(on);
  EXPECT_EQ(port, 7070);
  EXPECT_EQ(small, 7);
  EXPECT_EQ(share, 0.25);
  EXPECT_EQ(whole, 3);
  EXPECT_EQ(timeout, seconds(90));
  EXPECT_EQ(wait, milliseconds(2500));
  EXPECT_THAT(hosts, ElementsAre("x", "y"));
  EXPECT_THAT(backoff, ElementsAre(seconds(1), seconds(5)));
  EXPECT_THAT(labels, ElementsAre(Pair("any thing", "goes")));
}

TEST(ConfigReaderTest, ABadValueLeavesTheDefaultAndIsReportedOnce) {
  ConfigReader reader("port = 70000\n", "a.toml");
  std::int64_t port = 7070;

  EXPECT_FALSE(reader.ReadInt("port", &port, {1, 65535}));

  EXPECT_EQ(port, 7070);
  EXPECT_EQ(MessageOf(reader),
            "a.toml:1:8: 'port' must be a whole number from 1 to 65535, found "
            "70000");
}

TEST(ConfigReaderTest, ChoicesAreCheckedAndSuggested) {
  enum class Color { kRed, kGreen };
  const std::vector<std::pair<std::string_view, Color>> colors = {
      {"red", Color::kRed}, {"green", Color::kGreen}};
  ConfigReader reader("a = \"green\"\nb = \"gren\"\nc = [\"red\", \"blue\"]\n",
                      "a.toml");
  Color a = Color::kRed;
  Color b = Color::kRed;
  std::vector<Color> c = {Color::kGreen};

  EXPECT_TRUE(reader.ReadChoice("a", &a, colors));
  EXPECT_FALSE(reader.ReadChoice("b", &b, colors));
  EXPECT_FALSE(reader.ReadChoiceList("c", &c, colors, 1, 4));

  EXPECT_EQ(a, Color::kGreen);
  EXPECT_EQ(b, Color::kRed);
  EXPECT_THAT(c, ElementsAre(Color::kGreen));
  EXPECT_EQ(MessageOf(reader),
            "a.toml:2:5: 'b' must be one of red, green, found \"gren\" (did "
            "you mean 'green'?)\n"
            "a.toml:3:13: 'c' must be one of red, green, found \"blue\"");
}

TEST(ConfigReaderTest, TextMapsRefuseWhatIsNoString) {
  ConfigReader reader("[env]\nA = 1\n", "a.toml");
  std::map<std::string, std::string> env;

  EXPECT_FALSE(reader.ReadTextMap("env", &env, 4));

  EXPECT_EQ(MessageOf(reader), "a.toml:2:5: 'env.A' must be a string, found 1");
}

TEST(ConfigReaderTest, UnknownKeysAreNamedAtTheirTable) {
  ConfigReader reader("[sever]\nport = 1\n[server]\nprot = 2\n", "a.toml");
  std::int64_t port = 0;
  reader.ReadInt("server.port", &port, {1, 65535});

  EXPECT_EQ(MessageOf(reader),
            "a.toml:1:2: unknown key 'sever' (did you mean 'server'?)\n"
            "a.toml:4:1: unknown key 'server.prot' (did you mean 'port'?)");
}

TEST(ConfigReaderTest, ASyntaxErrorIsTheOnlyError) {
  ConfigReader reader("port = \n", "a.toml");
  std::int64_t port = 5;

  EXPECT_FALSE(reader.ReadInt("port", &port, {1, 9}));
  EXPECT_FALSE(reader.IsSet("port"));

  EXPECT_THAT(MessageOf(reader), HasSubstr("a.toml:1:8: syntax error: "));
}

TEST(ConfigReaderTest, SaysWhereAKeyIsSet) {
  ConfigReader reader("a = 1\n[b]\nc = 2\n", "a.toml");

  EXPECT_TRUE(reader.IsSet("b.c"));
  EXPECT_FALSE(reader.IsSet("b.d"));
  EXPECT_EQ(reader.Where("b.c"), "a.toml:3:5");
  EXPECT_EQ(reader.Where("b.d"), "a.toml");
}

TEST(ConfigReaderTest, OwnErrorsComeInOrderOfLines) {
  ConfigReader reader("a = 1\nb = 2\n", "a.toml");
  std::int64_t n = 0;
  reader.ReadInt("a", &n, {0, 9});
  reader.ReadInt("b", &n, {0, 1});
  reader.AddError("a", "a must be more than b");
  reader.AddError("z", "z is needed");

  EXPECT_EQ(MessageOf(reader),
            "a.toml: z is needed\n"
            "a.toml:1:5: a must be more than b\n"
            "a.toml:2:5: 'b' must be a whole number from 0 to 1, found 2");
}

// The parser asserts on these; with NDEBUG that would be undefined behaviour.
TEST(ConfigReaderTest, ATableHeaderWithoutANameIsASyntaxError) {
  ConfigReader reader("a = 1\n  [ =b]\n", "a.toml");

  EXPECT_EQ(MessageOf(reader),
            "a.toml:2:5: syntax error: expected the name of a table after "
            "'['");
}

// Whatever bytes come, an answer comes back and no control byte with it.
TEST(ConfigReaderTest, HostileBytesAreAnsweredCleanly) {
  std::uint64_t random = 88172645463325252u;
  const std::string_view seeds = "[]{}=\"'.#,\n\r\t\\x01a-_ \x7f\xff\xc3\x28";
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 40; ++i) {
      random ^= random << 13;
      random ^= random >> 7;
      random ^= random << 17;
      text += seeds[random % seeds.size()];
    }
    ConfigReader reader(text, "a.toml");
    std::string value;
    reader.ReadText("a", &value);
    for (const char c : MessageOf(reader)) {
      const auto byte = static_cast<unsigned char>(c);
      ASSERT_TRUE(byte >= 0x20 || c == '\n') << text;
    }
  }
}

TEST(ConfigReaderTest, DeepNestingIsRefusedNotFollowed) {
  ConfigReader reader("a = " + std::string(100000, '['), "a.toml");

  EXPECT_THAT(MessageOf(reader), HasSubstr("syntax error"));
}

}  // namespace
}  // namespace steadyrun
