#include "agent/metrics/agent_metrics.h"

#include <string_view>

#include "base/check.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

class Text {
 public:
  explicit Text(const NodeId& node) : node_(node) {}

  void Add(std::string_view name, std::string_view type, std::string_view help,
           double value) {
    text_ += fmt::format(
        "# HELP steadyrun_agent_{0} {1}\n# TYPE steadyrun_agent_{0} {2}\n"
        "steadyrun_agent_{0}{{node=\"{3}\"}} {4}\n",
        name, help, type, node_, value);
  }
  void Gauge(std::string_view name, std::string_view help, double value) {
    Add(name, "gauge", help, value);
  }
  void Counter(std::string_view name, std::string_view help,
               std::uint64_t value) {
    Add(name, "counter", help, static_cast<double>(value));
  }
  // One series a rank; `value` gives each.
  template <typename Value>
  void PerRank(std::string_view name, std::string_view help,
               const NodeState& state, Value value) {
    std::string series;
    std::size_t count = 0;
    for (const NodeRunState& run : state.runs) {
      for (const RankState& rank : run.ranks) {
        if (rank.life == RankLife::kExited || ++count > kMaxRankSeries) {
          continue;
        }
        series += fmt::format(
            "steadyrun_agent_{}{{node=\"{}\",run=\"{}\",local_rank=\"{}\"}} "
            "{}\n",
            name, node_, run.run, rank.local_rank, value(rank));
      }
    }
    if (series.empty()) return;
    text_ += fmt::format(
        "# HELP steadyrun_agent_{0} {1}\n# TYPE steadyrun_agent_{0} gauge\n{2}",
        name, help, series);
  }
  std::string Take() { return std::move(text_); }

 private:
  const NodeId& node_;  // [A-Za-z0-9._-], so that it needs no escaping.
  std::string text_;
};

}  // namespace

std::string RenderMetrics(const AgentMetrics& m, const NodeState& state) {
  Text text(state.node);
  text.Gauge("connected", "1 while a server has welcomed this agent.",
             m.is_connected ? 1 : 0);
  text.Counter("connections_total", "Streams opened to the server.",
               m.connections);
  text.Counter("heartbeats_total", "Heartbeats sent.", m.heartbeats);
  text.Counter("reports_sent_total", "Reports sent, repetitions included.",
               m.reports_sent);
  text.Counter("commands_total", "Commands received.", m.commands);
  text.Counter("ranks_spawned_total", "Rank processes started.",
               m.ranks_spawned);
  text.Counter("ranks_exited_total", "Rank processes that have ended.",
               m.ranks_exited);
  text.Gauge("ranks_alive", "Rank processes alive.",
             static_cast<double>(m.ranks_alive));
  text.Gauge("spool_reports", "Reports not acknowledged yet.",
             static_cast<double>(m.spool_reports));
  text.Gauge("spool_bytes", "Their size.", static_cast<double>(m.spool_bytes));
  text.Counter("spool_dropped_total", "Reports dropped for want of room.",
               m.spool_dropped);
  text.Gauge("spool_full", "1 while telemetry is being thinned.",
             m.is_spool_full ? 1 : 0);
  text.Counter("state_write_failures_total",
               "Writes of the fence that the disk refused.",
               m.state_write_failures);
  text.Gauge("slowest_turn_seconds", "Longest turn of the loop of late.",
             m.slowest_turn_seconds);
  text.Counter("bugs_total", "Broken expectations lived with.",
               static_cast<std::uint64_t>(BugCount()));
  text.PerRank("rank_step", "Newest step this rank completed; -1 none.", state,
               [](const RankState& rank) { return rank.step.value; });
  text.PerRank(
      "rank_progress_age_seconds", "Time since this rank advanced.", state,
      [](const RankState& rank) { return ToSeconds(rank.progress_age); });
  text.PerRank("rank_cpu_seconds", "CPU time of this rank's processes.", state,
               [](const RankState& rank) { return rank.cpu_seconds; });
  return text.Take();
}

}  // namespace steadyrun::agent
