#pragma once

// The numbers of one step of all ranks, healthy or not: noise as the profile
// says, and what the faults in effect do to it.
//
// Model of a rank's time: compute = base x (0.75 tokens + 0.25 sum of squared
// lengths, both relative) x (1 + bias) x (1 + noise), now and then a pause;
// data = its share of the step with an exponential tail. The step lasts as
// long as its slowest rank, and the communication of all. Model of the loss: a
// power law, with noise that is white in time (the autocorrelation of
// differences of public curves is -0.5) and stands out now and then.
//
// A row is a function of the seed, the step, the attempt (times only: a step
// made again has the same data) and the faults. O(ranks). Pure.

#include <cstdint>
#include <span>
#include <vector>

#include "fleet/sim/fault.h"
#include "fleet/sim/profile.h"
#include "server/model/step_row.h"

namespace steadyrun::fleet {

// Names of the columns that have no number of their own.
inline constexpr char kSumSquaredLengths[] = "sum_sq_len";
inline constexpr char kHashLow[] = "hash/param/lo";
inline constexpr char kHashHigh[] = "hash/param/hi";

class RowMaker {
 public:
  RowMaker(const FleetProfile& profile, std::int32_t ranks, std::uint64_t seed);

  struct StepAsk {
    AttemptId attempt;
    Step step;
    // Steps of this attempt before it: the first ones are slow.
    std::int64_t made = 0;
    // Evaluation or checkpoint before it, which its time includes.
    double pause_seconds = 0;
    std::span<const Fault* const> faults;  // In effect at this step.
  };
  // Fills all but run, ended and the summary. Returns the step's duration in
  // seconds, pause included.
  double Make(const StepAsk& ask, StepRow* row);

 private:
  struct Curves {
    double loss = 0;
    double grad_norm = 0;
  };
  Curves CurvesAt(const StepAsk& ask) const;
  // Slowest rank's compute and data time.
  double FillRanks(const StepAsk& ask, const Curves& curves, StepRow* row);
  void FillNan(const StepAsk& ask, StepRow* row);
  void FillHashes(const StepAsk& ask, StepRow* row);
  double FillRl(const StepAsk& ask, StepRow* row);
  float* Column(StepRow* row, std::uint32_t metric);
  float* NamedColumn(StepRow* row, const char* name);

  const FleetProfile profile_;
  const std::int32_t ranks_;
  const std::uint64_t seed_;
  std::vector<float> bias_;
  std::vector<float> slow_;  // By rank: factor of compute time now.
};

}  // namespace steadyrun::fleet
