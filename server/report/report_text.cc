#include <algorithm>
#include <cmath>
#include <utility>

#include "server/report/report.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

constexpr std::size_t kWidth = 78;
constexpr int kBarCells = 36;

std::string WithCommas(std::int64_t value) {
  std::string digits = std::to_string(std::abs(value));
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return value < 0 ? "-" + digits : digits;
}

// "0.21 s", "31.5 s", "4 min 12 s", "3 h 05 min", "2 d 04 h"
std::string Seconds(double seconds) {
  if (!std::isfinite(seconds)) return "-";
  if (seconds < 9.995) return fmt::format("{:.2f} s", seconds);
  if (seconds < 99.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 3600)
    return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  if (whole < 86'400) {
    return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
  }
  return fmt::format("{} d {:02} h", whole / 86'400, whole / 3600 % 24);
}

// Printable, on one line, at most `max` bytes and cut between characters:
// texts come from logs of whatever was run.
std::string Clean(std::string_view text, std::size_t max) {
  std::string clean;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    clean += byte < 0x20 || byte == 0x7f ? ' ' : c;
  }
  if (clean.size() <= max) return clean;
  std::size_t end = max - 3;
  while (end > 0 && (static_cast<unsigned char>(clean[end]) & 0xc0) == 0x80) {
    --end;
  }
  return clean.substr(0, end) + "...";
}

// `text` in lines of kWidth behind `indent`, broken at spaces; what does not
// fit in kMaxLines is cut.
std::string Wrapped(std::string_view text, std::string_view indent) {
  constexpr int kMaxLines = 4;
  const std::size_t width = kWidth - indent.size();
  std::string rest = Clean(text, width * kMaxLines);
  std::string out;
  for (int line = 1; !rest.empty(); ++line) {
    std::size_t end = rest.size();
    if (end > width && line < kMaxLines) {
      end = rest.rfind(' ', width);
      if (end == std::string::npos || end == 0) end = width;
    }
    out += fmt::format("{}{}\n", indent, Clean(rest.substr(0, end), width));
    rest.erase(0, rest.find_first_not_of(' ', end));
  }
  return out;
}

std::string Repeat(std::string_view text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

std::string Plural(std::int64_t count, std::string_view one,
                   std::string_view many) {
  return fmt::format("{} {}", WithCommas(count), count == 1 ? one : many);
}

void RenderHead(const StabilityReport& report, std::string* out) {
  *out += fmt::format("Stability report of run {}: {}\n", report.run,
                      RunPhaseName(report.phase));
  *out += Repeat("=", kWidth) + "\n";
  if (report.phase == RunPhase::kHalted || report.phase == RunPhase::kStopped) {
    *out += Wrapped(report.phase_reason, "");
  }
  const std::string steps =
      report.target_steps > 0
          ? fmt::format("{} of {}", WithCommas(report.steps_completed),
                        WithCommas(report.target_steps))
          : WithCommas(report.steps_completed);
  const std::string failures =
      fmt::format("{} ({})", WithCommas(report.attempts),
                  Plural(report.failures, "failure", "failures"));
  const auto row = [&](std::string_view name, const std::string& value,
                       std::string_view name2, const std::string& value2) {
    *out +=
        fmt::format("  {:<11} {:<24} {:<12} {}\n", name, value, name2, value2);
  };
  row("steps", steps, "attempts", failures);
  row("wall time", Seconds(report.wall_seconds), "productive",
      Seconds(report.productive_seconds));
  row("ETTR", fmt::format("{:.2f} %", 100 * report.ettr), "MTBF / MTTR",
      report.failures == 0
          ? std::string("no failure")
          : fmt::format("{} / {}", Seconds(report.mtbf_seconds),
                        report.mttr_seconds > 0 ? Seconds(report.mttr_seconds)
                                                : std::string("-")));
}

void RenderTimes(const StabilityReport& report, std::string* out) {
  std::vector<std::pair<std::string, double>> causes(
      report.lost_seconds.begin(), report.lost_seconds.end());
  std::erase_if(causes, [](const auto& cause) { return cause.second < 5e-4; });
  std::stable_sort(
      causes.begin(), causes.end(),
      [](const auto& a, const auto& b) { return a.second > b.second; });
  causes.insert(causes.begin(), {"productive", report.productive_seconds});
  *out += "\nWhere the time went\n";
  for (const auto& [cause, seconds] : causes) {
    const double share =
        report.wall_seconds > 0 ? seconds / report.wall_seconds : 0;
    const int cells = static_cast<int>(std::lround(share * kBarCells));
    *out += fmt::format("  {:<17} {}{} {:>6.2f} % {:>12}\n", cause,
                        Repeat("█", cells), Repeat("·", kBarCells - cells),
                        100 * share, Seconds(seconds));
  }
}

std::string CulpritText(const Culprit& culprit) {
  if (culprit.node.empty() && culprit.rank == kNoRank) return "unknown";
  if (culprit.rank == kNoRank) return culprit.node;
  if (culprit.node.empty()) return fmt::format("rank {}", culprit.rank.value);
  return fmt::format("{} rank {}", culprit.node, culprit.rank.value);
}

void RenderIncidents(const StabilityReport& report, std::string* out) {
  if (report.incidents.empty()) {
    *out += "\nNo incidents.\n";
    return;
  }
  *out += fmt::format("\nIncidents ({})\n", report.incidents.size());
  *out += fmt::format("  {:>3} {:<14} {:<17} {:>6} {:>8} {:>8} {:>5}  {}\n",
                      "#", "kind", "culprit", "step", "noticed", "back in",
                      "lost", "remedy");
  for (const Incident& incident : report.incidents) {
    const bool is_recovered = incident.state == IncidentState::kRecovered;
    *out += fmt::format(
        "  {:>3} {:<14} {:<17} {:>6} {:>8} {:>8} {:>5}  {}\n", incident.number,
        IncidentKindName(incident.kind),
        Clean(CulpritText(incident.culprit), 17),
        incident.step == kNoStep ? std::string("-")
                                 : std::to_string(incident.step.value),
        Seconds(ToSeconds(incident.detection_time)),
        is_recovered ? Seconds(ToSeconds(incident.recovery_time))
                     : std::string(IncidentStateName(incident.state)),
        incident.steps_lost, Clean(incident.remediation, 14));
    *out += Wrapped(incident.reason, "      ");
  }
}

void RenderCheckpoints(const StabilityReport& report, std::string* out) {
  std::map<CheckpointState, std::int64_t> counts;
  std::int64_t bytes = 0;
  for (const Checkpoint& checkpoint : report.checkpoints) {
    ++counts[checkpoint.state];
    bytes = std::max(bytes, checkpoint.SizeBytes());
  }
  if (report.checkpoints.empty()) {
    *out += "\nNo checkpoints.\n";
    return;
  }
  *out += fmt::format("\nCheckpoints: {}",
                      WithCommas(std::ssize(report.checkpoints)));
  for (const auto& [state, count] : counts) {
    *out += fmt::format(", {} {}", count, CheckpointStateName(state));
  }
  *out += fmt::format("; up to {:.1f} MiB each\n",
                      static_cast<double>(bytes) / (1 << 20));
  for (const Checkpoint& checkpoint : report.checkpoints) {
    if (checkpoint.state != CheckpointState::kDistrusted) continue;
    *out += Wrapped(fmt::format("step {} of attempt {} is distrusted: {}",
                                checkpoint.step.value, checkpoint.attempt.value,
                                checkpoint.reason),
                    "  ");
  }
}

}  // namespace

std::string RenderReportText(const StabilityReport& report) {
  std::string out;
  RenderHead(report, &out);
  RenderTimes(report, &out);
  RenderIncidents(report, &out);
  RenderCheckpoints(report, &out);
  if (!report.final_parameters_sha256.empty()) {
    out += fmt::format("\nFinal parameters ({})\n  sha256 {}\n",
                       Plural(report.ranks_with_parameters, "rank", "ranks"),
                       Clean(report.final_parameters_sha256, 200));
  }
  return out;
}

}  // namespace steadyrun
