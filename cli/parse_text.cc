#include <spdlog/fmt/fmt.h>

#include <cmath>
#include <map>

#include "cli/replay_text.h"
#include "cli/table.h"

namespace steadyrun::cli {
namespace {

using nlohmann::ordered_json;

struct ColumnCount {
  std::int64_t values = 0;
  std::int64_t nonfinite = 0;
};

std::string NameOf(const StepRow& row, std::size_t column) {
  const std::uint32_t metric = row.metrics[column];
  if (metric >= kFirstNamedMetric) {
    return row.names[metric - kFirstNamedMetric];
  }
  return std::string(replay::StandardName(static_cast<Metric>(metric)));
}

std::map<std::string, ColumnCount> CountColumns(const replay::Trace& trace) {
  std::map<std::string, ColumnCount> counts;
  for (const replay::TraceAttempt& attempt : trace.attempts) {
    for (const StepRow& row : attempt.rows) {
      const auto world = static_cast<std::size_t>(row.world_size);
      for (std::size_t m = 0; m < row.metrics.size(); ++m) {
        ColumnCount& count = counts[NameOf(row, m)];
        for (std::size_t rank = 0; rank < world; ++rank) {
          const float value = row.values[m * world + rank];
          if (IsAbsent(value)) continue;
          ++count.values;
          count.nonfinite += std::isfinite(value) ? 0 : 1;
        }
      }
    }
  }
  return counts;
}

}  // namespace

std::string RenderTrace(const std::string& file, const replay::Trace& trace) {
  std::string out = fmt::format(
      "{}: {}, {} rows, a row each {:g} steps, {}\n", Printable(file),
      trace.format, trace.Rows(), trace.StepStride(),
      trace.StepSeconds() > 0 ? FormatSeconds(trace.StepSeconds()) + " a step"
                              : "no step times");
  Table attempts({"ATTEMPT", "ROWS", "FIRST STEP", "LAST STEP", "RANKS"});
  for (const replay::TraceAttempt& attempt : trace.attempts) {
    attempts.Add({std::to_string(attempt.attempt.attempt.value),
                  std::to_string(attempt.rows.size()),
                  FormatStep(attempt.rows.front().step.value),
                  FormatStep(attempt.rows.back().step.value),
                  std::to_string(attempt.attempt.WorldSize())});
  }
  out += attempts.Render();
  Table columns({"COLUMN", "VALUES", "NOT FINITE", "TAKEN AS"});
  for (const auto& [name, count] : CountColumns(trace)) {
    columns.Add(
        {Printable(name), std::to_string(count.values),
         std::to_string(count.nonfinite),
         replay::StandardMetric(name) ? "standard metric" : "named metric"});
  }
  out += columns.Render();
  for (const std::string& note : trace.notes) {
    out += fmt::format("Note: {}\n", Printable(note));
  }
  return out;
}

ordered_json TraceToJson(const std::string& file, const replay::Trace& trace) {
  ordered_json json = {{"file", file},
                       {"format", trace.format},
                       {"rows", trace.Rows()},
                       {"step_stride", trace.StepStride()},
                       {"step_seconds", trace.StepSeconds()},
                       {"notes", trace.notes},
                       {"columns", ordered_json::object()},
                       {"attempts", ordered_json::array()}};
  for (const auto& [name, count] : CountColumns(trace)) {
    json["columns"][name] = {{"values", count.values},
                             {"nonfinite", count.nonfinite}};
  }
  for (const replay::TraceAttempt& attempt : trace.attempts) {
    json["attempts"].push_back({{"attempt", attempt.attempt.attempt.value},
                                {"rows", attempt.rows.size()},
                                {"first_step", attempt.rows.front().step.value},
                                {"last_step", attempt.rows.back().step.value},
                                {"ranks", attempt.attempt.WorldSize()}});
  }
  return json;
}

std::string RenderLine(const replay::LineAccount& account) {
  using Fate = agent::LineFate;
  std::string out = fmt::format("{:>7}  ", account.line);
  switch (account.fate) {
    case Fate::kMatched:
      out += account.step < 0 ? fmt::format("{:<12}", "next step")
                              : fmt::format("step {:<7}", account.step);
      break;
    case Fate::kOtherSource:
      out += "left out: another rank printed the step";
      break;
    case Fate::kNoStep:
      out += "left out: before the first step";
      break;
    case Fate::kUnmatched: {
      constexpr std::size_t kShown = 100;
      return out + "no match    " + Printable(account.text.substr(0, kShown)) +
             "\n";
    }
  }
  for (const auto& [name, value] : account.parsed->values) {
    out += fmt::format(" {}={:g}", Printable(name), value);
  }
  return out + "\n";
}

}  // namespace steadyrun::cli
