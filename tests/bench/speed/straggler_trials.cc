// Straggler detection: false alarms of a day, recall and delay by severity,
// shapes, and runs whose work varies.

#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "server/detect/speed/speed_watch.h"
#include "tests/bench/speed/fleet.h"
#include "tests/bench/speed/plain_rules.h"
#include "tests/bench/speed/score.h"
#include "tests/bench/speed/sections.h"

namespace steadyrun::bench {
namespace {

constexpr std::size_t kNobody = ~std::size_t{0};
// A seed: 1,500 in all, so that a recall of 99.5 % can be told from 100.
constexpr int kTrials = 150;

struct Fault {
  std::vector<std::size_t> ranks;
  float factor = 1;
  std::int64_t onset = 0;
  Culprit culprit;  // What a right finding names.
};

struct TrialOptions {
  std::int64_t steps_after = 300;
  bool is_work_reported = false;
  ParallelLayout layout;
};

struct Scores {
  Score report;
  Score act;
  std::uint64_t onset_within_five = 0;
};

// One run with one fault. Rules may be null.
void RunTrial(Fleet& fleet, const Fault& fault, const TrialOptions& options,
              Scores* scores, PlainRules* rules) {
  SpeedWatch watch(SpeedOptions(), options.layout);
  watch.Begin(fleet.attempt, kNow);
  if (rules != nullptr) rules->Reset(fleet.Size());
  Verdicts verdicts;
  StepRow row;
  while (fleet.step.value < fault.onset + options.steps_after) {
    fleet.Draw();
    const std::int64_t slow_for = fleet.step.value - fault.onset;
    if (slow_for >= 0) {
      for (const std::size_t r : fault.ranks) fleet.compute[r] *= fault.factor;
    }
    fleet.Begin(&row);
    Fleet::Add(Metric::kComputeSeconds, fleet.compute, &row);
    if (options.is_work_reported) {
      Fleet::Add(Metric::kTokens, fleet.tokens, &row);
      Fleet::Add("sum_sq_len", fleet.squares, &row);
    }
    watch.ObserveRow(row, kNow, &verdicts);
    if (rules != nullptr) {
      rules->Observe(fleet.compute, fault.ranks.front(),
                     static_cast<double>(slow_for));
    }
  }
  if (rules != nullptr) rules->EndTrial();
  ++scores->report.trials;
  ++scores->act.trials;
  bool is_reported = false;
  bool is_acted = false;
  for (const Finding& finding : verdicts.findings) {
    const bool is_action = finding.advice == Advice::kReplaceNode;
    Score& score = is_action ? scores->act : scores->report;
    bool& is_told = is_action ? is_acted : is_reported;
    if (finding.step.value < fault.onset ||
        !(finding.culprit == fault.culprit)) {
      ++score.false_findings;
    } else if (!std::exchange(is_told, true)) {
      score.Found(static_cast<double>(finding.step.value - fault.onset + 1));
      if (!is_action && std::abs(finding.onset_step.value - fault.onset) <= 5) {
        ++scores->onset_within_five;
      }
    }
  }
}

Fault OneRank(Fleet& fleet, float low, float high) {
  Fault fault;
  const std::size_t rank = fleet.random.Below(fleet.Size());
  fault.ranks = {rank};
  fault.factor = 1 + fleet.random.Uniform(low, high);
  fault.onset = 60 + static_cast<std::int64_t>(fleet.random.Below(100));
  fault.culprit = {fleet.attempt.rank_nodes[rank],
                   Rank{static_cast<std::int32_t>(rank)}};
  return fault;
}

Scores Severity(const Seeds& seeds, float low, float high,
                const FleetNoise& noise, const TrialOptions& options,
                PlainRules* rules) {
  Scores scores;
  for (std::uint64_t seed = seeds.first; seed <= seeds.last; ++seed) {
    for (int trial = 0; trial < kTrials; ++trial) {
      Fleet fleet(1000, seed * 1000 + static_cast<std::uint64_t>(trial), noise);
      const Fault fault = OneRank(fleet, low, high);
      RunTrial(fleet, fault, options, &scores, rules);
    }
  }
  return scores;
}

void PrintHealthy(std::size_t ranks, int steps, const Seeds& seeds,
                  const FleetNoise& noise, bool is_with_rules) {
  std::uint64_t reports = 0;
  std::uint64_t acts = 0;
  PlainRules rules;
  for (std::uint64_t seed = seeds.first; seed <= seeds.last; ++seed) {
    Fleet fleet(ranks, seed, noise);
    SpeedWatch watch{SpeedOptions(), ParallelLayout()};
    watch.Begin(fleet.attempt, kNow);
    rules.Reset(ranks);
    Verdicts verdicts;
    StepRow row;
    for (int i = 0; i < steps; ++i) {
      fleet.Draw();
      fleet.Begin(&row);
      Fleet::Add(Metric::kComputeSeconds, fleet.compute, &row);
      watch.ObserveRow(row, kNow, &verdicts);
      // A tenth is enough to count what comes by the thousand.
      if (is_with_rules && i % 10 == 0) {
        rules.Observe(fleet.compute, kNobody, -1);
      }
    }
    for (const Finding& finding : verdicts.findings) {
      ++(finding.advice == Advice::kReplaceNode ? acts : reports);
    }
  }
  const auto days = static_cast<double>(seeds.last - seeds.first + 1);
  fmt::print(
      "  {:>6} ranks x {} steps x {} seeds, noise {:.1f} %: {} false reports, "
      "{} false actions\n",
      ranks, steps, days, 100 * noise.step, reports, acts);
  if (!is_with_rules) return;
  for (const PlainRules::Rule& rule : rules.rules) {
    fmt::print("         {:<38} {:.0f} false alarms a day\n", rule.name,
               static_cast<double>(rule.alarms) * 10 / days);
  }
}

}  // namespace

void StragglerHealthy(const Seeds& seeds) {
  fmt::print("\nstraggler, healthy fleet (a day is 8,640 steps of 10 s)\n");
  PrintHealthy(1000, 8640, seeds, {}, true);
  PrintHealthy(10000, 8640, seeds, {}, false);
  PrintHealthy(1000, 8640, seeds, {.step = 0.015f}, false);
  PrintHealthy(1000, 8640, seeds, {.step = 0.08f}, false);
  PrintHealthy(100000, 1200, {seeds.first, seeds.first + 1}, {}, false);
}

void StragglerRecall(const Seeds& seeds) {
  fmt::print("\nstraggler, one slow rank of 1,000 ({} trials a row)\n",
             (seeds.last - seeds.first + 1) * kTrials);
  PlainRules rules;
  const Scores large = Severity(seeds, 0.10f, 0.30f, {}, {}, &rules);
  large.report.Print("10-30 % slower: report");
  large.act.Print("10-30 % slower: act");
  fmt::print("  {:<34} {}\n", "onset named within 5 steps",
             Wilson(large.onset_within_five, large.report.found));
  const std::uint64_t trials = large.report.trials;
  for (const PlainRules::Rule& rule : rules.rules) {
    fmt::print("    {:<38} recall {:<26} false alarms {:<9} delay p50 {:.0f}\n",
               rule.name, Wilson(rule.found, trials), rule.alarms,
               Quantile(rule.delays, 0.5));
  }
  const Scores small = Severity(seeds, 0.025f, 0.05f, {}, {}, nullptr);
  small.report.Print("2.5-5 % slower: report");
  const Scores middle = Severity(seeds, 0.05f, 0.10f, {}, {}, nullptr);
  middle.report.Print("5-10 % slower: report");
  middle.act.Print("5-10 % slower: act");
}

void StragglerShapes(const Seeds& seeds) {
  fmt::print("\nstraggler, 10-30 % slower, who is named (1,024 ranks)\n");
  const ParallelLayout layout{.tensor = 8, .pipeline = 4};
  Scores node;
  Scores replica;
  for (std::uint64_t seed = seeds.first; seed <= seeds.last; ++seed) {
    for (int trial = 0; trial < 10; ++trial) {
      const std::uint64_t mixed =
          seed * 1000 + static_cast<std::uint64_t>(trial);
      for (const bool is_node : {true, false}) {
        Fleet fleet(1024, mixed);
        Fault fault = OneRank(fleet, 0.10f, 0.30f);
        const std::size_t rank = fault.ranks.front();
        fault.ranks.clear();
        const RankPlaces places(layout, fleet.Size());
        for (std::size_t r = 0; r < fleet.Size(); ++r) {
          if (is_node ? r / 8 == rank / 8
                      : places.ReplicaOf(r) == places.ReplicaOf(rank)) {
            fault.ranks.push_back(r);
          }
        }
        fault.culprit = {is_node ? fleet.attempt.rank_nodes[rank] : NodeId(),
                         kNoRank};
        TrialOptions options;
        options.layout = layout;
        RunTrial(fleet, fault, options, is_node ? &node : &replica, nullptr);
      }
    }
  }
  node.report.Print("all 8 ranks of a node: report");
  node.act.Print("all 8 ranks of a node: act");
  replica.report.Print("a replica over 4 nodes: report");
}

void StragglerWork(const Seeds& seeds) {
  fmt::print("\nstraggler, sequence lengths spread by 8 % (ablation)\n");
  const FleetNoise noise{.work = 0.08f};
  TrialOptions options;
  Scores raw = Severity(seeds, 0.10f, 0.30f, noise, options, nullptr);
  raw.report.Print("10-30 %, work not reported: report");
  raw.act.Print("10-30 %, work not reported: act");
  options.is_work_reported = true;
  Scores normal = Severity(seeds, 0.10f, 0.30f, noise, options, nullptr);
  normal.report.Print("10-30 %, normalised: report");
  normal.act.Print("10-30 %, normalised: act");
  Scores small = Severity(seeds, 0.025f, 0.05f, noise, options, nullptr);
  small.report.Print("2.5-5 %, normalised: report");
}

}  // namespace steadyrun::bench
