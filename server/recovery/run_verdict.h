#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "server/model/incident.h"
#include "server/model/run_state.h"

namespace steadyrun {

// What the picture of a run is drawn from.
struct VerdictInput {
  const RunState& state;
  std::vector<const Incident*> open;  // By number.
  Duration progress_age{};            // Since any rank advanced.
  Step checkpoint_step = kNoStep;     // What a restart would resume from.
  std::int32_t restarts_left = 0;
  bool is_mass_silence = false;
  std::string waiting_for;  // Nodes without proof, while stopping.
  MonoTime now;
};

// Three sentences for a person who has just been woken: what is going on, why,
// and what happens next without them.
struct RunVerdict {
  std::string verdict;
  std::string why;
  std::string next;
};
RunVerdict DescribeRun(const VerdictInput& input);

}  // namespace steadyrun
