#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "cli/proto_json.h"
#include "cli/run_text.h"
#include "cli/table.h"

namespace steadyrun::cli {
namespace {

using ::testing::HasSubstr;

TEST(TableTest, AlignsColumnsByCharactersNotBytes) {
  Table table({"NAME", "STATE"});
  table.Add({"grün", "ok"});
  table.Add({"a", "halted"});

  EXPECT_EQ(table.Render(), "NAME  STATE\ngrün  ok\na     halted\n");
}

TEST(FormatTest, SecondsReadLikeAPersonSaysThem) {
  EXPECT_EQ(FormatSeconds(0.031), "31 ms");
  EXPECT_EQ(FormatSeconds(3.24), "3.2 s");
  EXPECT_EQ(FormatSeconds(250), "4m 10s");
  EXPECT_EQ(FormatSeconds(7500), "2h 05m");
  EXPECT_EQ(FormatSeconds(180000), "2d 02h");
  EXPECT_EQ(FormatSeconds(-1), "-");
  EXPECT_EQ(FormatSeconds(std::nan("")), "-");
}

TEST(FormatTest, BytesAndStepsAndNumbers) {
  EXPECT_EQ(FormatBytes(512), "512 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatStep(-1), "-");
  EXPECT_EQ(FormatNumber(std::nan("")), "nan");
}

TEST(FormatTest, TextFromElsewhereCannotDriveTheTerminal) {
  EXPECT_EQ(Printable("a\x1b[31mb\nc"), "a\\x1b[31mb c");
}

TEST(ProtoJsonTest, IntegersAreNumbersAndNanIsNull) {
  v1::RunView run;
  run.set_max_step(std::numeric_limits<std::int64_t>::max());
  run.set_loss(std::nan(""));
  (*run.mutable_spec()->mutable_environment())["A"] = "1";
  run.add_placement()->set_node("node-0");

  const auto json = ToJson(run);

  EXPECT_EQ(json["max_step"].get<std::int64_t>(),
            std::numeric_limits<std::int64_t>::max());
  EXPECT_TRUE(json["loss"].is_null());
  EXPECT_EQ(json["spec"]["environment"]["A"], "1");
  EXPECT_EQ(json["placement"][0]["node"], "node-0");
  EXPECT_EQ(json["open_incidents"], 0);
}

TEST(RunTextTest, TheWorstRunComesFirst) {
  v1::ListRunsReply runs;
  auto* good = runs.add_runs();
  good->mutable_spec()->set_run("good");
  good->set_phase("running");
  auto* halted = runs.add_runs();
  halted->mutable_spec()->set_run("stuck");
  halted->set_phase("halted");

  const std::string text = RenderRunTable(runs);

  EXPECT_LT(text.find("stuck"), text.find("good"));
}

TEST(RunTextTest, NoRunsSaysWhatToDo) {
  EXPECT_THAT(RenderRunTable({}), HasSubstr("steadyrun run --name"));
}

TEST(RunTextTest, VerdictComesBeforeFigures) {
  v1::RunView run;
  run.mutable_spec()->set_run("gpt");
  run.mutable_spec()->set_target_steps(1500);
  run.set_phase("running");
  run.set_step(430);
  run.set_verdict("healthy");

  const std::string text = RenderRun(run);

  EXPECT_LT(text.find("Verdict  healthy"), text.find("430/1500"));
}

}  // namespace
}  // namespace steadyrun::cli
