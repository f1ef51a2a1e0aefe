// Recorded curves of real runs, with the labels people gave them.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "replay/backtest.h"
#include "replay/labels.h"
#include "replay/readers/read_trace.h"
#include "spdlog/fmt/fmt.h"
#include "tests/bench/score/plain_rules.h"
#include "tests/bench/score/sections.h"

namespace steadyrun::bench {
namespace {

std::filesystem::path DataFolder() {
  const char* set = std::getenv("STEADYRUN_DATA");
  if (set != nullptr && *set != '\0') return set;
  // The working directory is the repository's.
  return std::filesystem::path("..") / "shared" / "data";
}

struct Totals {
  replay::Score all;
  replay::Score told;    // Findings that tell a person.
  replay::Score acting;  // Those that ask for an action.
  std::int64_t rows = 0;
  int curves = 0;
  std::int64_t acted = 0;  // By the default policy, of itself.
  std::map<std::string, replay::Score> rules;
};

replay::ScoreOptions OptionsFor(const replay::Trace& trace, Advice least) {
  replay::ScoreOptions options;
  options.step_stride = trace.StepStride();
  if (trace.StepSeconds() > 0) options.step_seconds = trace.StepSeconds();
  options.least = least;
  return options;
}

void AddRules(const replay::Trace& trace,
              const std::vector<replay::Label>& labels, Totals* totals) {
  for (const auto& rule : AllPlainRules()) {
    for (const replay::TraceAttempt& attempt : trace.attempts) {
      rule->Begin();
      for (const StepRow& row : attempt.rows) rule->Observe(row, 0);
    }
    auto score = replay::ScoreAlarms(rule->TakeAlarms(), labels,
                                     OptionsFor(trace, Advice::kRecord));
    if (score.ok()) totals->rules[rule->Name()].Add(*score);
  }
}

// What went wrong, if the files cannot be used.
std::string AddCurve(const std::filesystem::path& file, Totals* totals) {
  std::filesystem::path labels_file = file;
  labels_file.replace_extension();
  labels_file += ".labels.csv";
  const auto bytes = ReadFile(file.string(), replay::kMaxRecordingBytes);
  const auto words = ReadFile(labels_file.string(), 1 << 20);
  if (!bytes.ok() || !words.ok()) return "no labels";
  const auto trace = replay::ReadTrace(*bytes, file.string());
  if (!trace.ok()) return std::string(trace.status().message());
  const auto labels = replay::ReadLabels(*words, labels_file.string());
  if (!labels.ok()) return std::string(labels.status().message());
  const replay::BacktestResult result =
      replay::RunBacktest(*trace, DefaultPolicy());
  const auto alarms = replay::AlarmsOf(result);
  for (const auto& [sum, least] :
       {std::pair{&totals->all, Advice::kRecord},
        std::pair{&totals->told, Advice::kReport},
        std::pair{&totals->acting, Advice::kReplaceNode}}) {
    const auto score =
        replay::ScoreAlarms(alarms, *labels, OptionsFor(*trace, least));
    if (!score.ok()) return std::string(score.status().message());
    sum->Add(*score);
  }
  for (const replay::BacktestFinding& finding : result.findings) {
    totals->acted += finding.answer.acts ? 1 : 0;
  }
  totals->rows += result.rows;
  ++totals->curves;
  AddRules(*trace, *labels, totals);
  return "";
}

std::string Percent(const replay::Share& share) {
  if (share.of == 0) return "-";
  return fmt::format("{:.1f} % ({:.1f}-{:.1f}), {}/{}", 100 * share.Value(),
                     100 * share.Low(), 100 * share.High(), share.hits,
                     share.of);
}

void PrintScores(const Totals& totals) {
  std::printf(
      "| class | recall (95 %% interval) | right findings | false findings | "
      "of them told to a person | of them that ask for an action |\n"
      "| --- | --- | --- | --- | --- | --- |\n");
  const auto false_of = [](const replay::Score& score,
                           const std::string& name) {
    const auto it = score.classes.find(name);
    return it == score.classes.end()
               ? 0LL
               : static_cast<long long>(it->second.false_alarms);
  };
  for (const auto& [name, counts] : totals.all.classes) {
    std::printf("| %s | %s | %lld | %lld | %lld | %lld |\n", name.c_str(),
                Percent(counts.Recall()).c_str(),
                static_cast<long long>(counts.true_alarms),
                static_cast<long long>(counts.false_alarms),
                false_of(totals.told, name), false_of(totals.acting, name));
  }
  std::printf(
      "\n| plain rule | recall of its class | false alarms |\n"
      "| --- | --- | --- |\n");
  for (const auto& rule : AllPlainRules()) {
    const auto it = totals.rules.find(rule->Name());
    if (it == totals.rules.end()) continue;
    const std::string word(IncidentKindName(rule->Kind()));
    const auto found = it->second.classes.find(word);
    std::printf("| %s | %s | %lld |\n", rule->Name().c_str(),
                found == it->second.classes.end()
                    ? "-"
                    : Percent(found->second.Recall()).c_str(),
                static_cast<long long>(it->second.total.false_alarms));
  }
  std::printf("\n");
}

}  // namespace

void PrintRealCurves() {
  std::printf("### Recorded curves of real runs\n\n");
  const std::filesystem::path folder = DataFolder() / "curves";
  std::error_code error;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".csv") && !name.ends_with(".labels.csv")) {
      files.push_back(entry.path());
    }
  }
  if (error || files.empty()) {
    std::printf(
        "Not scored: no curves in %s; STEADYRUN_DATA names the "
        "folder.\n\n",
        folder.string().c_str());
    return;
  }
  std::ranges::sort(files);
  Totals totals;
  for (const auto& file : files) {
    const std::string why = AddCurve(file, &totals);
    if (!why.empty()) {
      std::fprintf(stderr, "%s: left out: %s\n", file.filename().c_str(),
                   why.c_str());
    }
  }
  std::printf(
      "%d labelled curves, %lld rows; the default policy acts of itself "
      "%lld times on them.\n\n",
      totals.curves, static_cast<long long>(totals.rows),
      static_cast<long long>(totals.acted));
  PrintScores(totals);
}

}  // namespace steadyrun::bench
