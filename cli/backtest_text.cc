#include <spdlog/fmt/fmt.h>

#include <cmath>

#include "base/robust_stats.h"
#include "cli/replay_text.h"
#include "cli/table.h"

namespace steadyrun::cli {
namespace {

using nlohmann::ordered_json;
using replay::BacktestFinding;
using replay::Counts;
using replay::Judgement;
using replay::Share;

std::string WhoText(const Culprit& culprit) {
  if (culprit.rank == kNoRank) return culprit.node.empty() ? "-" : culprit.node;
  if (culprit.node.empty()) return fmt::format("rank {}", culprit.rank.value);
  return fmt::format("{} rank {}", culprit.node, culprit.rank.value);
}

std::string Percent(double share) {
  return std::isnan(share) ? "-" : fmt::format("{:.1f}%", 100 * share);
}
std::string WithInterval(const Share& share) {
  if (share.of == 0) return "-";
  return fmt::format("{} ({:.1f}-{:.1f})", Percent(share.Value()),
                     100 * share.Low(), 100 * share.High());
}
std::string HitsText(const Share& share) {
  return share.of == 0 ? "-" : fmt::format("{}/{}", share.hits, share.of);
}

std::string JudgedText(const BacktestReport& report, std::size_t index) {
  const replay::JudgedAlarm& judged = report.score->alarms[index];
  const std::string word(replay::JudgementName(judged.judgement));
  if (judged.judgement == Judgement::kTrue) return Paint(Tone::kGood, word);
  if (judged.judgement == Judgement::kFalse) return Paint(Tone::kBad, word);
  return Paint(Tone::kDim, word);
}

std::string RenderFindings(const BacktestReport& report) {
  std::vector<std::string> header = {"ATTEMPT",  "ONSET", "DETECTED", "KIND",
                                     "SEVERITY", "WHO",   "ACTION"};
  if (report.score) header.push_back("JUDGED");
  header.push_back("REASON");
  Table table(header);
  for (std::size_t i = 0; i < report.result.findings.size(); ++i) {
    const BacktestFinding& found = report.result.findings[i];
    const Finding& finding = found.finding;
    std::vector<std::string> row = {std::to_string(finding.attempt.value),
                                    FormatStep(finding.onset_step.value),
                                    FormatStep(found.detected_step.value),
                                    std::string(IncidentKindName(finding.kind)),
                                    std::string(SeverityName(finding.severity)),
                                    Printable(WhoText(finding.culprit)),
                                    found.answer.text};
    if (report.score) row.push_back(JudgedText(report, i));
    row.push_back(Printable(finding.reason));
    table.Add(std::move(row));
  }
  return table.IsEmpty() ? "No findings.\n" : table.Render();
}

std::string RenderMissed(const BacktestReport& report) {
  std::string out;
  for (std::size_t i = 0; i < report.labels.size(); ++i) {
    const replay::Label& label = report.labels[i];
    const auto kind = replay::ClassOfLabel(label.kind);
    if (!kind.ok() || !kind->is_fault || report.score->label_found[i]) continue;
    out += fmt::format("Missed: {} at steps {} to {}\n", Printable(label.kind),
                       label.onset.value, label.end.value);
  }
  return out;
}

std::string OneLine(std::string_view what, const Counts& counts) {
  return fmt::format("{}: {} true, {} false; precision {}, recall {}\n", what,
                     counts.true_alarms, counts.false_alarms,
                     WithInterval(counts.Precision()),
                     WithInterval(counts.Recall()));
}

ordered_json ShareToJson(const Share& share) {
  return {{"value", share.Value()},
          {"low", share.Low()},
          {"high", share.High()},
          {"hits", share.hits},
          {"of", share.of}};
}

ordered_json CountsToJson(const Counts& counts) {
  ordered_json json = {{"labels", counts.labels},
                       {"found", counts.found},
                       {"true_alarms", counts.true_alarms},
                       {"false_alarms", counts.false_alarms},
                       {"merged", counts.merged},
                       {"precision", ShareToJson(counts.Precision())},
                       {"recall", ShareToJson(counts.Recall())},
                       {"f1", counts.F1()},
                       {"top1", ShareToJson(counts.Top1())},
                       {"top3", ShareToJson(counts.Top3())}};
  if (!counts.delay_steps.empty()) {
    json["delay_steps"] = {{"median", Median(counts.delay_steps)},
                           {"p95", Quantile(counts.delay_steps, 0.95)}};
  }
  if (!counts.delay_seconds.empty()) {
    json["delay_seconds"] = {{"median", Median(counts.delay_seconds)},
                             {"p95", Quantile(counts.delay_seconds, 0.95)}};
  }
  return json;
}

ordered_json FindingToJson(const BacktestReport& report, std::size_t index) {
  const BacktestFinding& found = report.result.findings[index];
  const Finding& finding = found.finding;
  ordered_json json = {{"kind", IncidentKindName(finding.kind)},
                       {"detector", finding.detector},
                       {"attempt", finding.attempt.value},
                       {"onset_step", finding.onset_step.value},
                       {"detected_step", found.detected_step.value},
                       {"rank", finding.culprit.rank.value},
                       {"node", finding.culprit.node},
                       {"severity", SeverityName(finding.severity)},
                       {"action", found.answer.text},
                       {"acts", found.answer.acts},
                       {"advice", AdviceName(finding.advice)},
                       {"reason", finding.reason},
                       {"evidence", finding.evidence}};
  json["suspects"] = ordered_json::array();
  for (const Rank rank : finding.suspects) {
    json["suspects"].push_back(rank.value);
  }
  if (finding.advice == Advice::kRollback) {
    json["rollback"] = {
        {"below", finding.rollback.below.value},
        {"skip_from", finding.rollback.skip_from.value},
        {"skip_to", finding.rollback.skip_to.value},
        {"learning_rate_factor", finding.rollback.learning_rate_factor}};
  }
  if (report.score) {
    json["judged"] =
        replay::JudgementName(report.score->alarms[index].judgement);
  }
  return json;
}

}  // namespace

std::string RenderScore(const replay::Score& score) {
  Table table({"CLASS", "LABELS", "FOUND", "TRUE", "FALSE", "MERGED",
               "PRECISION", "RECALL", "F1", "DELAY p50/p95", "TOP-1", "TOP-3"});
  const auto add = [&](const std::string& name, const Counts& counts) {
    table.Add(
        {name, std::to_string(counts.labels), std::to_string(counts.found),
         std::to_string(counts.true_alarms),
         std::to_string(counts.false_alarms), std::to_string(counts.merged),
         WithInterval(counts.Precision()), WithInterval(counts.Recall()),
         std::isnan(counts.F1()) ? "-" : fmt::format("{:.3f}", counts.F1()),
         counts.delay_steps.empty()
             ? "-"
             : fmt::format("{:.0f}/{:.0f} rows", Median(counts.delay_steps),
                           Quantile(counts.delay_steps, 0.95)),
         HitsText(counts.Top1()), HitsText(counts.Top3())});
  };
  for (const auto& [name, counts] : score.classes) add(name, counts);
  add("all", score.total);
  return table.Render();
}

ordered_json ScoreToJson(const replay::Score& score) {
  ordered_json json = {{"total", CountsToJson(score.total)},
                       {"classes", ordered_json::object()}};
  for (const auto& [name, counts] : score.classes) {
    json["classes"][name] = CountsToJson(counts);
  }
  return json;
}

std::string RenderBacktest(const BacktestReport& report) {
  std::string out = fmt::format("{}  {}, {} rows in {} attempts\n\n",
                                Paint(Tone::kBold, Printable(report.file)),
                                report.trace.format, report.result.rows,
                                report.result.attempts);
  out += RenderFindings(report);
  if (report.result.left_out > 0) {
    out += fmt::format("... and {} more findings\n", report.result.left_out);
  }
  if (report.score) {
    out += "\n" + RenderScore(*report.score);
    out += RenderMissed(report);
    out += OneLine("Told to a person", report.told->total);
    out += OneLine("Acted on", report.acted->total);
    if (report.result.rows > 0) {
      out += fmt::format(
          "False alarms in 10,000 rows: {:.2f}\n",
          1e4 * static_cast<double>(report.score->total.false_alarms) /
              static_cast<double>(report.result.rows));
    }
  }
  for (const std::string& note : report.trace.notes) {
    out += fmt::format("Note: {}\n", Printable(note));
  }
  return out;
}

ordered_json BacktestToJson(const BacktestReport& report) {
  ordered_json json = {{"file", report.file},
                       {"format", report.trace.format},
                       {"rows", report.result.rows},
                       {"attempts", report.result.attempts},
                       {"step_stride", report.trace.StepStride()},
                       {"notes", report.trace.notes},
                       {"findings", ordered_json::array()},
                       {"cleared", ordered_json::array()},
                       {"left_out", report.result.left_out}};
  for (std::size_t i = 0; i < report.result.findings.size(); ++i) {
    json["findings"].push_back(FindingToJson(report, i));
  }
  for (const replay::BacktestClearance& it : report.result.clearances) {
    json["cleared"].push_back({{"kind", IncidentKindName(it.clearance.kind)},
                               {"attempt", it.attempt.value},
                               {"step", it.step.value},
                               {"rank", it.clearance.culprit.rank.value},
                               {"node", it.clearance.culprit.node},
                               {"reason", it.clearance.reason}});
  }
  if (report.score) {
    json["score"] = ScoreToJson(*report.score);
    json["score_told"] = ScoreToJson(*report.told);
    json["score_acted"] = ScoreToJson(*report.acted);
  }
  return json;
}

}  // namespace steadyrun::cli
