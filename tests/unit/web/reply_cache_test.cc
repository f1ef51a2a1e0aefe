#include "server/web/reply_cache.h"

#include <gtest/gtest.h>

namespace steadyrun {
namespace {

HttpRequest Request(const std::string& path, const std::string& from = "") {
  HttpRequest request;
  request.path = path;
  if (!from.empty()) request.query["from"] = from;
  return request;
}
HttpResponse Reply(std::string body) {
  HttpResponse response;
  response.body = std::move(body);
  return response;
}

TEST(ReplyCacheTest, AnAnswerLivesForASecond) {
  ReplyCache cache;
  const MonoTime now{std::chrono::hours(1)};
  EXPECT_EQ(cache.Find(Request("/a"), now), nullptr);
  cache.Put(Request("/a"), Reply("1"), now);
  ASSERT_NE(cache.Find(Request("/a"), now), nullptr);
  EXPECT_EQ(cache.Find(Request("/a"), now)->body, "1");
  EXPECT_EQ(cache.Find(Request("/a", "5"), now), nullptr);
  EXPECT_EQ(cache.Find(Request("/b"), now), nullptr);
  EXPECT_EQ(cache.Find(Request("/a"), now + ReplyCache::kLife), nullptr);
  EXPECT_EQ(cache.Bytes(), 0u);
}

TEST(ReplyCacheTest, ItsMemoryIsBounded) {
  ReplyCache cache;
  const MonoTime now{std::chrono::hours(1)};
  const std::string big(ReplyCache::kMaxBytes / 3, 'x');
  for (int i = 0; i < 9; ++i) {
    cache.Put(Request("/a", std::to_string(i)), Reply(big), now);
    EXPECT_LE(cache.Bytes(), ReplyCache::kMaxBytes);
  }
  EXPECT_EQ(cache.Find(Request("/a", "0"), now), nullptr);
  EXPECT_NE(cache.Find(Request("/a", "8"), now), nullptr);
  cache.Put(Request("/huge"), Reply(std::string(ReplyCache::kMaxBytes, 'x')),
            now);
  EXPECT_EQ(cache.Find(Request("/huge"), now), nullptr);
}

}  // namespace
}  // namespace steadyrun
