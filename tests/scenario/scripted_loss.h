#pragma once

// The loss of ScriptedCluster's trainer: a smooth fall with a little repeatable
// noise, and if asked for one bad batch, after which it stays high until the
// training goes back to before it and leaves the batch out, as a trainer that
// uses run.resume.data() does. With none asked for it is 2.5 at every step.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "server/model/run_state.h"

namespace steadyrun {

struct BadBatch {
  std::int64_t data = -1;              // Its number; -1: none.
  double height = 1;                   // Added to the loss from its step on.
  bool is_gone_after_rollback = true;  // Else it does not care what is skipped.
};

class ScriptedLoss {
 public:
  void SetBadBatch(const BadBatch& bad) { bad_ = bad; }
  // A new attempt, with the environment its ranks are started with.
  void Begin(const std::map<std::string, std::string>& environment);
  double At(std::int64_t step);

 private:
  BadBatch bad_;
  std::vector<StepRange> skips_;
  bool is_high_ = false;
};

}  // namespace steadyrun
