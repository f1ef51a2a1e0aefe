// Every curve, label and log of the real data reads as what it is.

#include "tests/unit/replay/real_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "base/file.h"
#include "replay/backtest.h"
#include "replay/labels.h"
#include "replay/readers/csv_trace.h"
#include "replay/readers/read_trace.h"

namespace steadyrun::replay {
namespace {

using std::filesystem::path;

std::string Content(const path& file) {
  auto text = ReadFile(file.string());
  EXPECT_TRUE(text.ok()) << text.status();
  return text.ok() ? *text : "";
}

// Tables beside the curves that are no run's steps.
bool IsNoCurve(const std::string& name) {
  static const std::set<std::string> kOthers = {
      "chronicle-glm130b.csv", "cluster-infinitehbd-faults.csv",
      "gpu-telemetry-jhc-8g5bqf9b.csv", "mlperf-all-runs-summary.csv"};
  return kOthers.contains(name) || name.ends_with(".labels.csv");
}

std::size_t Attempts(const Trace& trace) { return trace.attempts.size(); }

// Loss of the first and the last row that has one.
std::pair<double, double> LossEnds(const Trace& trace) {
  std::pair<double, double> ends{NAN, NAN};
  for (const TraceAttempt& attempt : trace.attempts) {
    for (const StepRow& row : attempt.rows) {
      if (!std::isfinite(row.loss)) continue;
      if (std::isnan(ends.first)) ends.first = row.loss;
      ends.second = row.loss;
    }
  }
  return ends;
}

TEST(RealDataTest, EveryCurveReadsWithAllItsRows) {
  SKIP_WITHOUT_DATA();
  int curves = 0;
  for (const path& file : DataFiles("curves", ".csv")) {
    const std::string name = file.filename().string();
    const std::string text = Content(file);
    if (IsNoCurve(name)) {
      if (!name.ends_with(".labels.csv")) {
        const auto refused = ReadTrace(text, name);
        ASSERT_FALSE(refused.ok()) << name;
        EXPECT_THAT(std::string(refused.status().message()),
                    testing::HasSubstr(name + ":1:1: no column 'step'"));
      }
      continue;
    }
    const auto trace = ReadTrace(text, name);
    ASSERT_TRUE(trace.ok()) << trace.status();
    EXPECT_EQ(trace->format, "csv") << name;
    EXPECT_GE(trace->StepStride(), 1) << name;
    std::set<std::string> steps;
    std::size_t at = text.find('\n') + 1;
    while (at < text.size()) {
      steps.insert(text.substr(at, text.find(',', at) - at));
      at = std::min(text.find('\n', at), text.size() - 1) + 1;
    }
    // A step that a later attempt makes again is a row of its own.
    EXPECT_GE(trace->Rows(), static_cast<std::int64_t>(steps.size())) << name;
    ++curves;
  }
  EXPECT_GT(curves, 30);
}

TEST(RealDataTest, EveryLabelIsUnderstood) {
  SKIP_WITHOUT_DATA();
  std::size_t labels = 0;
  for (const path& file : DataFiles("curves", ".labels.csv")) {
    const auto read = ReadLabels(Content(file), file.filename().string());
    ASSERT_TRUE(read.ok()) << read.status();
    labels += read->size();
  }
  EXPECT_GT(labels, 80u);
}

TEST(RealDataTest, ParsedCurvesReadBackTheSame) {
  SKIP_WITHOUT_DATA();
  for (const char* name :
       {"bigsci-tr11-176b-spike.csv", "hf-sygoat-mistral.csv",
        "rl-jhc-yeu8r64c.csv", "bigsci-tr11-reshape.csv"}) {
    const auto trace = ReadTrace(Content(DataFolder() / "curves" / name), name);
    ASSERT_TRUE(trace.ok()) << trace.status();
    const std::string written = WriteCsvTrace(*trace);
    const auto again = ReadTrace(written, name);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(WriteCsvTrace(*again), written) << name;
    EXPECT_EQ(again->Rows(), trace->Rows()) << name;
    const auto a = RunBacktest(*trace, DefaultPolicy());
    const auto b = RunBacktest(*again, DefaultPolicy());
    ASSERT_EQ(a.findings.size(), b.findings.size()) << name;
    for (std::size_t i = 0; i < a.findings.size(); ++i) {
      EXPECT_EQ(a.findings[i].finding.reason, b.findings[i].finding.reason);
    }
  }
}

std::string FormatOf(const std::string& name) {
  for (const auto& [begin, format] : {std::pair{"bigsci-", "megatron"},
                                      {"mlp51-", "mlperf"},
                                      {"incident-mlperf", "mlperf"},
                                      {"mng-", "nanogpt"},
                                      {"llmc-", "llmc"},
                                      {"rl-jhc-", "verl"}}) {
    if (name.starts_with(begin)) return format;
  }
  return "";
}

TEST(RealDataTest, EveryLogIsToldApartAndGivesPlausibleSteps) {
  SKIP_WITHOUT_DATA();
  int logs = 0;
  for (const path& file : DataFiles("logs", ".log")) {
    const std::string name = file.filename().string();
    const auto trace = ReadTrace(Content(file), name);
    ASSERT_TRUE(trace.ok()) << trace.status();
    EXPECT_EQ(trace->format, FormatOf(name)) << name;
    EXPECT_GT(trace->Rows(), 0) << name;
    EXPECT_LE(Attempts(*trace), 7u) << name;
    ++logs;
    // Prints its throughput once an epoch, and no loss.
    if (name.starts_with("incident-mlperf51-retinanet")) continue;
    const auto [first, last] = LossEnds(*trace);
    EXPECT_TRUE(std::isfinite(last)) << name;
    EXPECT_LT(std::abs(first), 100) << name;
    if (const double seconds = trace->StepSeconds(); seconds > 0) {
      EXPECT_GT(seconds, 0.01) << name;
      EXPECT_LT(seconds, 2000) << name;
    }
  }
  EXPECT_GT(logs, 50);
}

TEST(RealDataTest, LogsGiveTheValuesOfTheirCurves) {
  SKIP_WITHOUT_DATA();
  int compared = 0;
  for (const path& file : DataFiles("logs", ".log")) {
    const path curve =
        DataFolder() / "curves" / file.filename().replace_extension(".csv");
    if (!std::filesystem::exists(curve)) continue;
    // A log may tell one step several times, of several configurations.
    if (file.stem() == "bigsci-tr11-prequel" ||
        file.stem() == "bigsci-tr11-reshape") {
      continue;
    }
    const auto log = ReadTrace(Content(file), file.string());
    const auto csv = ReadTrace(Content(curve), curve.string());
    ASSERT_TRUE(log.ok() && csv.ok()) << file;
    std::map<std::int64_t, double> losses;
    for (const StepRow& row : csv->attempts.front().rows) {
      losses[row.step.value] = row.loss;
    }
    for (const StepRow& row : log->attempts.front().rows) {
      const auto it = losses.find(row.step.value);
      if (it == losses.end() || std::isnan(it->second)) continue;
      ASSERT_NEAR(row.loss, it->second, 1e-4 * (1 + std::abs(it->second)))
          << file << " step " << row.step.value;
      ++compared;
    }
  }
  EXPECT_GT(compared, 10'000);
}

TEST(RealDataTest, LinesOfManySourcesAreTakenForTheirFormat) {
  SKIP_WITHOUT_DATA();
  for (const auto& [name, format, steps] :
       {std::tuple{"lines-megatron.dev.txt", "megatron", 40},
        {"lines-deepspeed.dev.txt", "deepspeed", 2},
        {"lines-hf.dev.txt", "hf", 8},
        {"lines-mindspore.dev.txt", "mindformers", 8}}) {
    const auto trace = ReadTrace(Content(DataFolder() / "logs" / name), name);
    ASSERT_TRUE(trace.ok()) << trace.status();
    EXPECT_EQ(trace->format, format);
    EXPECT_GE(trace->Rows(), steps) << name;
  }
}

TEST(RealDataTest, TrainerStateGivesTheCurve) {
  SKIP_WITHOUT_DATA();
  const auto log = ReadTrace(
      Content(DataFolder() / "logs" / "hf-sygoat-mistral.json"), "state.json");
  // The sample is cut at 200 kB at most; a whole file reads, a cut one says
  // where it ends.
  if (!log.ok()) {
    EXPECT_THAT(std::string(log.status().message()),
                testing::HasSubstr("state.json:"));
    return;
  }
  const auto csv = ReadTrace(
      Content(DataFolder() / "curves" / "hf-sygoat-mistral.csv"), "curve");
  ASSERT_TRUE(csv.ok());
  EXPECT_EQ(log->format, "trainer_state");
  EXPECT_EQ(LossEnds(*log).first, LossEnds(*csv).first);
}

}  // namespace
}  // namespace steadyrun::replay
