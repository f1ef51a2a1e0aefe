#pragma once

// What backtest and parse print, apart from where it comes from.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "replay/backtest.h"
#include "replay/label_kinds.h"
#include "replay/readers/log_trace.h"
#include "replay/score.h"
#include "replay/trace.h"

namespace steadyrun::cli {

// A recording with the verdicts on it.
struct BacktestReport {
  std::string file;
  replay::Trace trace;
  replay::BacktestResult result;
  std::vector<replay::Label> labels;
  // With labels: of all findings, of those that tell a person, of those that
  // would act.
  std::optional<replay::Score> score;
  std::optional<replay::Score> told;
  std::optional<replay::Score> acted;
};
std::string RenderBacktest(const BacktestReport& report);
nlohmann::ordered_json BacktestToJson(const BacktestReport& report);

// A class a line, the total last.
std::string RenderScore(const replay::Score& score);
nlohmann::ordered_json ScoreToJson(const replay::Score& score);

// What was read from where: attempts, steps, columns with their counts, notes.
std::string RenderTrace(const std::string& file, const replay::Trace& trace);
nlohmann::ordered_json TraceToJson(const std::string& file,
                                   const replay::Trace& trace);
// "   12  step 40     loss=2.5 grad_norm=nan"
std::string RenderLine(const replay::LineAccount& account);

}  // namespace steadyrun::cli
