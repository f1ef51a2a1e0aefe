// The published benchmark of the detectors (docs/fleet.md): prints a Markdown
// table for docs/detection.md.
//
//   score [--seeds FIRST-LAST] [--quick] [--only trials|cascades|curves|cost]
//   [--raw FILE.csv]
//
// Seeds 0 to 9 are for tuning; what is published uses others, 10 to 19.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tests/bench/score/sections.h"

namespace steadyrun::bench {
namespace {

int Usage() {
  std::fprintf(stderr,
               "usage: score [--seeds FIRST-LAST] [--quick] "
               "[--only trials|cascades|curves|cost] [--raw FILE.csv]\n");
  return 2;
}

bool ParseSeeds(const char* text, SeedRange* seeds) {
  unsigned long long first = 0;
  unsigned long long last = 0;
  if (std::sscanf(text, "%llu-%llu", &first, &last) != 2 || last < first) {
    return false;
  }
  *seeds = {first, last};
  return true;
}

int Main(int argc, char** argv) {
  ScoreShape shape;
  std::string only;
  std::string command = "score";
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    command += " " + std::string(word);
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (word == "--quick") {
      shape.seeds = {shape.seeds.first, shape.seeds.first};
      shape.wide_ranks = 0;
    } else if (word == "--seeds" && value != nullptr &&
               ParseSeeds(value, &shape.seeds)) {
      command += " " + std::string(argv[++i]);
    } else if (word == "--raw" && value != nullptr) {
      shape.raw_file = argv[++i];
    } else if (word == "--only" && value != nullptr) {
      only = value;
      command += " " + std::string(argv[++i]);
    } else {
      return Usage();
    }
  }
  if (!only.empty() && only != "trials" && only != "cascades" &&
      only != "curves" && only != "cost") {
    return Usage();
  }
  std::printf("Made by `tests/bench/score/score.sh%s`; seeds %llu to %llu.\n\n",
              command.substr(5).c_str(),
              static_cast<unsigned long long>(shape.seeds.first),
              static_cast<unsigned long long>(shape.seeds.last));
  if (only.empty() || only == "trials") PrintTrials(shape);
  if (only.empty() || only == "cascades") PrintCascades(shape);
  if (only.empty() || only == "curves") PrintRealCurves();
  if (only.empty() || only == "cost") PrintCost();
  return 0;
}

}  // namespace
}  // namespace steadyrun::bench

int main(int argc, char** argv) { return steadyrun::bench::Main(argc, argv); }
