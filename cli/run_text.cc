#include "cli/run_text.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "cli/table.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::cli {
namespace {

std::string PhaseText(const v1::RunView& run) {
  const std::string& phase = run.phase();
  if (phase == "running" || phase == "completed") {
    return Paint(run.open_incidents() > 0 ? Tone::kWarn : Tone::kGood, phase);
  }
  if (phase == "halted") return Paint(Tone::kBad, phase);
  return Paint(Tone::kWarn, phase);
}

// Trainers count steps from 1, so that the newest step is how many are done.
std::string StepText(const v1::RunView& run) {
  const std::int64_t done = std::max<std::int64_t>(run.step(), 0);
  if (run.spec().target_steps() == 0) return std::to_string(done);
  return fmt::format("{}/{}", done, run.spec().target_steps());
}

// Small is worse, so that the worst come first.
int Badness(const v1::RunView& run) {
  if (run.phase() == "halted") return 0;
  if (run.open_incidents() > 0) return 1;
  if (IsEnded(run)) return 4;
  return run.phase() == "running" ? 3 : 2;
}

}  // namespace

bool IsEnded(const v1::RunView& run) {
  return run.phase() == "completed" || run.phase() == "stopped";
}

std::string RenderRun(const v1::RunView& run) {
  std::string out =
      fmt::format("{}  {}  {}\n\n", Paint(Tone::kBold, run.spec().run()),
                  PhaseText(run), Printable(run.phase_reason()));
  out += fmt::format("  Verdict  {}\n", Printable(run.verdict()));
  out += fmt::format("  Why      {}\n", Printable(run.why()));
  out += fmt::format("  Next     {}\n\n", Printable(run.next()));
  const auto line = [&](std::string_view name, const std::string& value) {
    out += fmt::format("  {:<14}{}\n", name, value);
  };
  line("steps done", StepText(run));
  line("attempt", std::to_string(run.attempt()));
  line("loss", run.step() < 0 ? "-" : FormatNumber(run.loss()));
  line("grad norm", run.step() < 0 ? "-" : FormatNumber(run.grad_norm()));
  line("step time", FormatSeconds(run.step_seconds()));
  line("tokens/s", FormatNumber(run.tokens_per_second()));
  line("ranks",
       fmt::format("{} of {} alive", run.ranks_alive(), run.world_size()));
  line("last progress", FormatSeconds(run.progress_age_seconds()) + " ago");
  line("checkpoint", run.checkpoint_step() < 0
                         ? "none yet"
                         : fmt::format("step {}", run.checkpoint_step()));
  line("incidents",
       fmt::format("{} ({} open)", run.incidents(), run.open_incidents()));
  line("restarts left", std::to_string(run.restarts_left()));
  if (run.placement_size() > 0) {
    std::string nodes;
    for (const auto& assignment : run.placement()) {
      std::string ranks;
      for (const int rank : assignment.ranks()) {
        ranks += (ranks.empty() ? "" : ",") + std::to_string(rank);
      }
      nodes += fmt::format("{}{} (ranks {})", nodes.empty() ? "" : "  ",
                           assignment.node(), ranks);
    }
    line("nodes", nodes);
  }
  return out;
}

std::string RenderRunTable(const v1::ListRunsReply& reply) {
  if (reply.runs().empty()) {
    return "No runs. Launch one: steadyrun run --name NAME --nodes N "
           "--ranks-per-node M -- COMMAND\n";
  }
  std::vector<const v1::RunView*> runs;
  for (const auto& run : reply.runs()) runs.push_back(&run);
  std::sort(runs.begin(), runs.end(), [](const auto* a, const auto* b) {
    return std::tuple(Badness(*a), a->spec().run()) <
           std::tuple(Badness(*b), b->spec().run());
  });
  Table table({"RUN", "PHASE", "STEPS", "LOSS", "STEP TIME", "ATTEMPT", "RANKS",
               "CHECKPOINT", "INCIDENTS", "VERDICT"});
  for (const auto* run : runs) {
    table.Add(
        {run->spec().run(), PhaseText(*run), StepText(*run),
         run->step() < 0 ? "-" : FormatNumber(run->loss()),
         FormatSeconds(run->step_seconds()), std::to_string(run->attempt()),
         fmt::format("{}/{}", run->ranks_alive(), run->world_size()),
         FormatStep(run->checkpoint_step()),
         fmt::format("{} ({} open)", run->incidents(), run->open_incidents()),
         Printable(run->verdict())});
  }
  return table.Render();
}

std::string RenderProgressLine(const v1::RunView& run) {
  return fmt::format(
      "step {}  attempt {}  loss {}  {}/step  {} incidents ({} open)  {}  {}",
      StepText(run), run.attempt(),
      run.step() < 0 ? "-" : FormatNumber(run.loss()),
      FormatSeconds(run.step_seconds()), run.incidents(), run.open_incidents(),
      run.phase(), Printable(run.verdict()));
}

}  // namespace steadyrun::cli
