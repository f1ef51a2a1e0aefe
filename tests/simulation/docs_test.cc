// docs/state-machines.md says what the code does.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "server/recovery/phase_change.h"

namespace steadyrun {
namespace {

using Edges = std::set<std::pair<std::string, std::string>>;

constexpr RunPhase kPhases[] = {
    RunPhase::kPlacing, RunPhase::kVerifying, RunPhase::kStarting,
    RunPhase::kRunning, RunPhase::kStopping,  RunPhase::kPaused,
    RunPhase::kHalted,  RunPhase::kCompleted, RunPhase::kStopped};

std::vector<std::string> LinesOfPage() {
  std::ifstream file("docs/state-machines.md");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

Edges EdgesOfCode() {
  Edges edges;
  for (const RunPhase from : kPhases) {
    for (const RunPhase to : kPhases) {
      if (!IsLegalEdge(from, to)) continue;
      edges.emplace(RunPhaseName(from), RunPhaseName(to));
    }
  }
  return edges;
}

// Rows "| from | to | ..." below the heading "### Edges".
Edges EdgesOfTable() {
  Edges edges;
  bool is_in_table = false;
  for (const std::string& line : LinesOfPage()) {
    if (line.rfind("### ", 0) == 0) is_in_table = line == "### Edges";
    if (!is_in_table || line.rfind("| ", 0) != 0) continue;
    std::istringstream cells(line);
    std::string bar, from, to;
    cells >> bar >> from >> bar >> to;
    if (from != "from" && from != "---") edges.emplace(from, to);
  }
  return edges;
}

// Lines "  from --> to : ..." of the page's first diagram.
Edges EdgesOfDiagram() {
  Edges edges;
  bool is_in_diagram = false;
  for (const std::string& line : LinesOfPage()) {
    if (line == "```mermaid") is_in_diagram = true;
    if (line == "```" && is_in_diagram) break;
    std::istringstream words(line);
    std::string from, arrow, to;
    words >> from >> arrow >> to;
    if (!is_in_diagram || arrow != "-->") continue;
    if (from != "[*]" && to != "[*]") edges.emplace(from, to);
  }
  return edges;
}

TEST(StateMachineDocsTest, TableHasTheEdgesOfTheCode) {
  EXPECT_THAT(EdgesOfTable(), testing::ContainerEq(EdgesOfCode()));
}

TEST(StateMachineDocsTest, DiagramHasTheEdgesOfTheCode) {
  EXPECT_THAT(EdgesOfDiagram(), testing::ContainerEq(EdgesOfCode()));
}

TEST(StateMachineDocsTest, NothingLeavesAnEndedPhaseAndOrdersAloneLeaveAHold) {
  for (const RunPhase to : kPhases) {
    EXPECT_FALSE(IsLegalEdge(RunPhase::kCompleted, to));
    EXPECT_FALSE(IsLegalEdge(RunPhase::kStopped, to));
    const bool is_stop = to == RunPhase::kStopping;
    EXPECT_EQ(IsLegalEdge(RunPhase::kPaused, to), is_stop);
    EXPECT_EQ(IsLegalEdge(RunPhase::kHalted, to), is_stop);
  }
}

}  // namespace
}  // namespace steadyrun
