#pragma once

// The parts of the published table. Each prints Markdown to stdout and its
// progress to stderr.

#include <cstdint>
#include <string>

namespace steadyrun::bench {

struct SeedRange {
  std::uint64_t first = 10;
  std::uint64_t last = 19;
};

struct ScoreShape {
  SeedRange seeds;
  std::int32_t ranks = 1000;
  std::int64_t steps = 14'000;         // Of a run with faults.
  std::int64_t healthy_steps = 8'640;  // A day of steps of 10 s.
  std::int32_t wide_ranks = 10'000;    // Of one more healthy day; 0: none.
  std::string raw_file;  // Each label and alarm as CSV; empty: not written.
};

// Simulated runs with and without faults, and the plain rules on them.
void PrintTrials(const ScoreShape& shape);
// First cause under cascades, over shares of victims that do not say so.
void PrintCascades(const ScoreShape& shape);
// The recorded curves of the shared data; a line if they are not there.
void PrintRealCurves();
// What a step costs the detectors of the training.
void PrintCost();

}  // namespace steadyrun::bench
