#pragma once

// What a simulated fleet is like: its noise, its habits and what befalls it.
// Every number has its TOML key, unit, default and source. Plain values.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "fleet/sim/fault.h"

namespace steadyrun::fleet {

// [job]
struct JobShape {
  std::int32_t ranks_per_node = 8;  // `ranks_per_node`
  double step_seconds = 10;         // `step_seconds`: of the median rank.
  // `communication_share`, 0.2, and `data_share`, 0.02, of a step.
  double communication_share = 0.2;
  double data_share = 0.02;
  // `start_seconds`, 60: from the launch to the first step's begin.
  double start_seconds = 60;
  // `restart_seconds`, 60: what an automatic recovery takes before that
  // (stop, placement), when the detectors are judged in process.
  double restart_seconds = 60;
};

// [noise]. What reaches the detectors of a healthy run.
struct Noise {
  // `work`, 0.08: deviation of tokens between ranks and steps (raw length
  // noise of algorithms.md 2.4); of the attention's share, three times that.
  double work = 0.08;
  double compute = 0.01;     // `compute`: of compute time, given the work.
  double rank_bias = 0.005;  // `rank_bias`: lasting, between ranks.
  double job = 0.01;         // `job`: of the communication of all ranks.
  // `pause_share`, 0.002: steps of a rank with a garbage collection of up to
  // `pause_most`, 0.5, of its compute time.
  double pause_share = 0.002;
  double pause_most = 0.5;
  // `clock_skew`, 2 s: each node's wall clock is off by up to this, each way.
  double clock_skew = 2;
  // `cascade`, 0.3 s: peers of a dead rank die within this.
  double cascade = 0.3;
  // `arrival`, 0.002 s: mean way of an exit from the node to the service.
  double arrival = 0.002;
  // `misread`, 0.01: victims whose last words do not tell that they are such.
  // Nobody publishes it: the benchmark shows what other shares would do.
  double misread = 0.01;
  // `dark_hang`, 0.03: hangs that leave no trace in phase, state or CPU.
  double dark_hang = 0.03;
};

// [phases]. What is slow and yet healthy.
struct Phases {
  std::int64_t warm_up_steps = 3;       // `warm_up_steps`, each slower by ...
  double warm_up_factor = 3;            // `warm_up_factor`, falling to 1.
  std::int64_t evaluation_steps = 500;  // `evaluation_steps`; 0: never.
  double evaluation_seconds = 60;       // `evaluation_seconds`
  std::int64_t checkpoint_steps = 100;  // `checkpoint_steps`; 0: on command.
  double checkpoint_seconds = 15;       // `checkpoint_seconds`
};

// [curve]. Levels and noise as in public training logs (docs/fleet.md).
struct Curve {
  bool is_rl = false;       // `kind`: "pretrain" or "rl".
  double loss_start = 11;   // `loss_start`
  double loss_floor = 1.7;  // `loss_floor`
  // loss = floor + (start - floor) (1 + step / `bend`)^-`exponent`.
  double bend = 100;
  double exponent = 0.5;
  double loss_noise = 0.012;  // `loss_noise`: share of the loss.
  double rank_noise = 0.02;   // `rank_noise`: of one rank's own loss.
  // `tail_share`, 0.002, of steps stand out by 3 to 7 deviations.
  double tail_share = 0.002;
  double grad_norm = 0.3;    // `grad_norm`
  double grad_noise = 0.05;  // `grad_noise`: deviation of its logarithm.
  // `grad_tail_share`, 0.002, of steps have a norm 1.5 to 4 times as high.
  double grad_tail_share = 0.002;
  std::int64_t hash_steps = 50;  // `hash_steps`: parameters are hashed; 0: no.
};

// [faults]
struct FaultRates {
  // `per_node_day`: r of rates-and-scoring.md 3.10.
  double per_node_day = 0;
  // [faults.mix]: shares of `per_node_day` by kind; need not sum to 1.
  std::array<double, kFaultKinds> mix{};
  // [faults.per_day]: events of the whole job.
  std::array<double, kFaultKinds> per_day{};
  // [faults.exactly]: so many, spread over the run.
  std::array<std::int32_t, kFaultKinds> exactly{};
  double lemon_nodes = 0;     // `lemon_nodes`: share of nodes that carry ...
  double lemon_failures = 0;  // `lemon_failures`: this share of node faults.
  // `correlated_per_day`: a rack or switch takes 2 to 5 neighbours at once.
  double correlated_per_day = 0;
};

struct FleetProfile {
  std::string name;
  JobShape job;
  Noise noise;
  Phases phases;
  Curve curve;
  FaultRates faults;

  // The same with all durations but the noise's multiplied.
  FleetProfile Paced(double factor) const;
};

// No fault at all; all of the noise.
FleetProfile HealthyProfile();
// rates-and-scoring.md 3.10 with the mix of L4 (3.4).
FleetProfile DefaultProfile();

// Reads a profile; keys it does not set are those of the healthy one.
// INVALID_ARGUMENT with all errors by line.
absl::StatusOr<FleetProfile> ParseProfile(std::string_view toml,
                                          const std::string& file);

}  // namespace steadyrun::fleet
