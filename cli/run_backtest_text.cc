#include <spdlog/fmt/fmt.h>

#include "cli/run_text.h"
#include "cli/table.h"

namespace steadyrun::cli {
namespace {

// Fired, acted, steps lost: "3 fired, 2 acted, 40 lost".
std::string SideText(const v1::BacktestSide& side) {
  std::string text =
      fmt::format("{}/{}/{}", side.fired(), side.acted(), side.steps_lost());
  if (side.left_alone() > 0) {
    text += fmt::format(" ({} left to a person)", side.left_alone());
  }
  return text;
}

std::string ChangeText(const v1::BacktestKind& kind) {
  std::string text;
  const auto add = [&](std::int64_t difference, const char* more,
                       const char* fewer) {
    if (difference == 0) return;
    if (!text.empty()) text += ", ";
    text += fmt::format("{} {}", difference > 0 ? difference : -difference,
                        difference > 0 ? more : fewer);
  };
  add(kind.after().fired() - kind.before().fired(), "more fired",
      "fewer fired");
  add(kind.after().acted() - kind.before().acted(), "more acts", "fewer acts");
  add(kind.after().steps_lost() - kind.before().steps_lost(), "more steps lost",
      "steps saved");
  if (!text.empty()) return text;
  return kind.before().answer() == kind.after().answer() ? "same"
                                                         : "another answer";
}

void AddActing(
    const google::protobuf::RepeatedPtrField<v1::BacktestFinding>& findings,
    std::string_view title, std::string* out) {
  Table table({"ATTEMPT", "ONSET", "DETECTED", "KIND", "ACTION", "REASON"});
  for (const v1::BacktestFinding& finding : findings) {
    if (!finding.acts()) continue;
    table.Add({std::to_string(finding.attempt()),
               FormatStep(finding.onset_step()),
               FormatStep(finding.detected_step()), finding.kind(),
               finding.action(), Printable(finding.reason())});
  }
  if (table.IsEmpty()) return;
  *out += fmt::format("\n{}\n", title) + table.Render();
}

}  // namespace

std::string RenderRunBacktest(const v1::BacktestReply& reply) {
  std::string out =
      fmt::format("{}  {} rows of {} attempts replayed, steps {} to {}\n\n",
                  Paint(Tone::kBold, Printable(reply.run())), reply.rows(),
                  reply.attempts(), FormatStep(reply.first_step()),
                  FormatStep(reply.last_step()));
  Table table({"KIND", "FOUND IN", "HAPPENED", "OWN POLICY", "NEW POLICY",
               "OWN ANSWER", "NEW ANSWER", "CHANGE"});
  for (const v1::BacktestKind& kind : reply.kinds()) {
    table.Add({kind.kind(), kind.is_from_rows() ? "rows" : "incidents",
               fmt::format("{}/{}/{}", kind.recorded(), kind.recorded_acted(),
                           kind.recorded_steps_lost()),
               SideText(kind.before()), SideText(kind.after()),
               kind.before().answer(), kind.after().answer(),
               ChangeText(kind)});
  }
  out += table.IsEmpty()
             ? "Nothing happened, and neither policy would have done a thing.\n"
             : table.Render() + "Fired/acted/steps lost.\n";
  if (!reply.before_halt().empty()) {
    out += fmt::format("The own policy would have halted the run {}\n",
                       Printable(reply.before_halt()));
  }
  if (!reply.after_halt().empty()) {
    out += fmt::format("The new policy would have halted the run {}\n",
                       Printable(reply.after_halt()));
  }
  AddActing(reply.before_findings(), "What the own policy acts on in the rows",
            &out);
  AddActing(reply.after_findings(), "What the new policy acts on in the rows",
            &out);
  out += "\n";
  for (const std::string& note : reply.notes()) {
    out += fmt::format("Note: {}\n", Printable(note));
  }
  return out;
}

}  // namespace steadyrun::cli
