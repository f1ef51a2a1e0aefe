#pragma once

// A simulated run's truth and findings as labels and alarms, and what several
// runs add up to.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "fleet/sim/trial.h"
#include "replay/score.h"

namespace steadyrun::bench {

// Labels of what has struck; `names`, in the same order, tell groups that one
// class holds ("straggler 10 % and more", "loss_spike that stays", ...).
std::vector<replay::Label> LabelsOf(const fleet::TrialResult& result,
                                    std::vector<std::string>* names);
std::vector<replay::Alarm> AlarmsOf(const fleet::TrialResult& result);

struct Sum {
  replay::Score all;     // Every finding.
  replay::Score acting;  // Those that ask for an action, as is advised.
  // By class: whether the found labels' culprit was named.
  std::map<std::string, replay::Counts> places;
  // Found and missed, by group, with delays and places.
  std::map<std::string, replay::Counts> groups;
  std::int64_t needless_actions = 0;
  std::int64_t benign_spikes = 0;
  std::int64_t benign_rollbacks = 0;
  std::int64_t rollbacks = 0;        // Of spikes that stay and divergence.
  std::int64_t clean_rollbacks = 0;  // Whose target lies before the onset.
  double rank_days = 0;              // Simulated.
  std::int64_t steps = 0;
  std::int32_t runs = 0;

  // One line a label and one an alarm, with what became of it.
  std::string raw;

  void Add(const fleet::TrialResult& result, const fleet::JobOptions& job);

 private:
  void CountRollback(const Finding& finding,
                     const std::vector<replay::Label>& labels,
                     const std::vector<std::string>& names,
                     const fleet::TrialResult& result);
};

}  // namespace steadyrun::bench
