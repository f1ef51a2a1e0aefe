// speed_bench [--seeds 10-19] [SECTION ...]: the figures of the detectors of
// speed and integrity, on a simulated fleet. Tuned on seeds 0-9, reported on
// 10-19 (the default). Takes some minutes in all.

#include <spdlog/fmt/fmt.h>

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "tests/bench/speed/sections.h"

namespace steadyrun::bench {
namespace {

using Section = void (*)(const Seeds&);

const std::vector<std::pair<std::string, Section>>& Sections() {
  static const auto& sections =
      *new std::vector<std::pair<std::string, Section>>{
          {"healthy", StragglerHealthy},
          {"recall", StragglerRecall},
          {"shapes", StragglerShapes},
          {"work", StragglerWork},
          {"slowdown", Slowdowns},
          {"data", DataStalls},
          {"corruption", Corruption},
          {"cost", [](const Seeds&) { Cost(); }}};
  return sections;
}

int Main(const std::vector<std::string>& arguments) {
  Seeds seeds{10, 19};
  std::vector<std::string> wanted;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--seeds" && i + 1 < arguments.size()) {
      unsigned long first = 0;
      unsigned long last = 0;
      if (std::sscanf(arguments[++i].c_str(), "%lu-%lu", &first, &last) != 2 ||
          first > last) {
        fmt::print(stderr, "--seeds: expected FIRST-LAST, found '{}'\n",
                   arguments[i]);
        return 2;
      }
      seeds = {first, last};
    } else {
      wanted.push_back(arguments[i]);
    }
  }
  for (const std::string& name : wanted) {
    bool is_known = false;
    for (const auto& [known, section] : Sections()) is_known |= known == name;
    if (is_known) continue;
    fmt::print(stderr, "no section '{}'; there are:", name);
    for (const auto& [known, section] : Sections()) {
      fmt::print(stderr, " {}", known);
    }
    fmt::print(stderr, "\n");
    return 2;
  }
  fmt::print("seeds {}-{}\n", seeds.first, seeds.last);
  for (const auto& [name, section] : Sections()) {
    bool is_wanted = wanted.empty();
    for (const std::string& word : wanted) is_wanted |= word == name;
    if (!is_wanted) continue;
    section(seeds);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace steadyrun::bench

int main(int argc, char** argv) {
  return steadyrun::bench::Main(
      std::vector<std::string>(argv + 1, argv + argc));
}
