#include "server/web/route_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/web/query_parameters.h"

namespace steadyrun {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Route Named(std::string name) {
  return {[name](const RouteCall&) {
    HttpResponse response;
    response.body = name;
    return response;
  }};
}

TEST(RouteTableTest, AStarStandsForOnePart) {
  RouteTable routes;
  routes.Add("/runs", Named("list"));
  routes.Add("/runs/*", Named("run"));
  routes.Add("/runs/*/steps", Named("steps"));
  const auto name_of = [&](std::string_view path) -> std::string {
    const RouteTable::Match match = routes.Find(path);
    if (match.route == nullptr) return "nothing";
    const HttpRequest request;
    return match.route->handler({request, {}, {}})->body;
  };

  EXPECT_EQ(name_of("/runs"), "list");
  EXPECT_EQ(name_of("/runs/gpt"), "run");
  EXPECT_EQ(name_of("/runs/gpt/steps"), "steps");
  EXPECT_THAT(routes.Find("/runs/gpt/steps").values, ElementsAre("gpt"));
  for (const char* none : {"", "/", "/run", "/runs/gpt/steps/1", "/runs/a/b"}) {
    EXPECT_EQ(name_of(none), "nothing") << none;
  }
}

TEST(QueryParametersTest, TheFirstBadOneIsNamed) {
  HttpRequest request;
  request.query = {{"from", "5"},
                   {"limit", "2147483648"},
                   {"open", "1"},
                   {"run", "gpt"},
                   {"to", "-1"}};
  QueryParameters query(request);

  EXPECT_EQ(query.Int64("from"), 5);
  EXPECT_EQ(query.Int64("nothing"), 0);
  EXPECT_TRUE(query.Flag("open"));
  EXPECT_EQ(query.Text("run"), "gpt");
  EXPECT_TRUE(query.status().ok());
  EXPECT_EQ(query.Int32("limit"), 0);
  EXPECT_EQ(query.Int64("to"), 0);
  EXPECT_EQ(query.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(query.status().message()), HasSubstr("limit"));
}

}  // namespace
}  // namespace steadyrun
