#include "fleet/sim/profile.h"

#include <spdlog/fmt/fmt.h>

#include "base/config_reader.h"
#include "base/status_macros.h"

namespace steadyrun::fleet {
namespace {

constexpr ConfigRange<double> kShare{0, 1};
constexpr ConfigRange<double> kAmount{0, 1e6};
constexpr ConfigRange<double> kSeconds{0, 1e5};
constexpr ConfigRange<std::int64_t> kSteps{0, 1'000'000'000};

double& Of(std::array<double, kFaultKinds>& values, FaultKind kind) {
  return values[static_cast<std::size_t>(kind)];
}

void ReadJob(ConfigReader& reader, JobShape* job) {
  reader.ReadInt32("job.ranks_per_node", &job->ranks_per_node, {1, 4096});
  reader.ReadDouble("job.step_seconds", &job->step_seconds, {0.001, 1e4});
  reader.ReadDouble("job.communication_share", &job->communication_share,
                    kShare);
  reader.ReadDouble("job.data_share", &job->data_share, kShare);
  reader.ReadDouble("job.start_seconds", &job->start_seconds, kSeconds);
  reader.ReadDouble("job.restart_seconds", &job->restart_seconds, kSeconds);
  if (job->communication_share + job->data_share >= 0.95) {
    reader.AddError("job.communication_share",
                    "with data_share it leaves less than 0.05 of the step to "
                    "compute");
  }
}

void ReadNoise(ConfigReader& reader, Noise* noise) {
  reader.ReadDouble("noise.work", &noise->work, {0, 0.3});
  reader.ReadDouble("noise.compute", &noise->compute, {0, 0.3});
  reader.ReadDouble("noise.rank_bias", &noise->rank_bias, {0, 0.3});
  reader.ReadDouble("noise.job", &noise->job, kShare);
  reader.ReadDouble("noise.pause_share", &noise->pause_share, kShare);
  reader.ReadDouble("noise.pause_most", &noise->pause_most, {0, 100});
  reader.ReadDouble("noise.clock_skew", &noise->clock_skew, kSeconds);
  reader.ReadDouble("noise.cascade", &noise->cascade, {0, 60});
  reader.ReadDouble("noise.arrival", &noise->arrival, {0, 1});
  reader.ReadDouble("noise.misread", &noise->misread, kShare);
  reader.ReadDouble("noise.dark_hang", &noise->dark_hang, kShare);
}

void ReadPhases(ConfigReader& reader, Phases* phases) {
  reader.ReadInt("phases.warm_up_steps", &phases->warm_up_steps, kSteps);
  reader.ReadDouble("phases.warm_up_factor", &phases->warm_up_factor, {1, 100});
  reader.ReadInt("phases.evaluation_steps", &phases->evaluation_steps, kSteps);
  reader.ReadDouble("phases.evaluation_seconds", &phases->evaluation_seconds,
                    kSeconds);
  reader.ReadInt("phases.checkpoint_steps", &phases->checkpoint_steps, kSteps);
  reader.ReadDouble("phases.checkpoint_seconds", &phases->checkpoint_seconds,
                    kSeconds);
}

void ReadCurve(ConfigReader& reader, Curve* curve) {
  reader.ReadChoice<bool>("curve.kind", &curve->is_rl,
                          {{"pretrain", false}, {"rl", true}});
  reader.ReadDouble("curve.loss_start", &curve->loss_start, {0.001, 1e6});
  reader.ReadDouble("curve.loss_floor", &curve->loss_floor, {0, 1e6});
  reader.ReadDouble("curve.bend", &curve->bend, {1, 1e9});
  reader.ReadDouble("curve.exponent", &curve->exponent, {0, 5});
  reader.ReadDouble("curve.loss_noise", &curve->loss_noise, kShare);
  reader.ReadDouble("curve.rank_noise", &curve->rank_noise, kShare);
  reader.ReadDouble("curve.tail_share", &curve->tail_share, kShare);
  reader.ReadDouble("curve.grad_norm", &curve->grad_norm, {1e-9, 1e9});
  reader.ReadDouble("curve.grad_noise", &curve->grad_noise, {0, 3});
  reader.ReadDouble("curve.grad_tail_share", &curve->grad_tail_share, kShare);
  reader.ReadInt("curve.hash_steps", &curve->hash_steps, kSteps);
}

void ReadFaults(ConfigReader& reader, FaultRates* faults) {
  reader.ReadDouble("faults.per_node_day", &faults->per_node_day, kAmount);
  reader.ReadDouble("faults.lemon_nodes", &faults->lemon_nodes, kShare);
  reader.ReadDouble("faults.lemon_failures", &faults->lemon_failures, kShare);
  reader.ReadDouble("faults.correlated_per_day", &faults->correlated_per_day,
                    kAmount);
  for (std::size_t k = 0; k < kFaultKinds; ++k) {
    const std::string_view word = FaultKindName(static_cast<FaultKind>(k));
    reader.ReadDouble(fmt::format("faults.mix.{}", word), &faults->mix[k],
                      kAmount);
    reader.ReadDouble(fmt::format("faults.per_day.{}", word),
                      &faults->per_day[k], kAmount);
    reader.ReadInt32(fmt::format("faults.exactly.{}", word),
                     &faults->exactly[k], {0, 100'000});
  }
}

}  // namespace

FleetProfile FleetProfile::Paced(double factor) const {
  FleetProfile paced = *this;
  paced.job.step_seconds *= factor;
  paced.job.start_seconds *= factor;
  paced.job.restart_seconds *= factor;
  paced.phases.evaluation_seconds *= factor;
  paced.phases.checkpoint_seconds *= factor;
  return paced;
}

FleetProfile HealthyProfile() {
  FleetProfile profile;
  profile.name = "healthy";
  return profile;
}

FleetProfile DefaultProfile() {
  FleetProfile profile;
  profile.name = "default";
  FaultRates& faults = profile.faults;
  faults.per_node_day = 3.8e-3;
  // Crashes of hardware 55 %, of software 13 %, and "other" 2.5 %.
  Of(faults.mix, FaultKind::kCrash) = 0.705;
  Of(faults.mix, FaultKind::kHang) = 0.10;
  Of(faults.mix, FaultKind::kNodeLost) = 0.08;
  Of(faults.mix, FaultKind::kLinkLost) = 0.09;
  Of(faults.mix, FaultKind::kNan) = 0.01;
  Of(faults.mix, FaultKind::kCorruption) = 0.015;
  Of(faults.per_day, FaultKind::kStraggler) = 0.02;
  Of(faults.per_day, FaultKind::kSlowdown) = 0.2;
  // No rate is published for these; about one a day, so that a day has some.
  Of(faults.per_day, FaultKind::kAgentLost) = 0.1;
  Of(faults.per_day, FaultKind::kSpikeBenign) = 1;
  Of(faults.per_day, FaultKind::kSpikeMalignant) = 0.05;
  Of(faults.per_day, FaultKind::kDataStall) = 0.1;
  faults.lemon_nodes = 0.04;
  faults.lemon_failures = 0.5;
  faults.correlated_per_day = 1.0 / 60;
  return profile;
}

absl::StatusOr<FleetProfile> ParseProfile(std::string_view toml,
                                          const std::string& file) {
  FleetProfile profile = HealthyProfile();
  profile.name = file;
  ConfigReader reader(toml, file);
  reader.ReadText("name", &profile.name);
  ReadJob(reader, &profile.job);
  ReadNoise(reader, &profile.noise);
  ReadPhases(reader, &profile.phases);
  ReadCurve(reader, &profile.curve);
  ReadFaults(reader, &profile.faults);
  RETURN_IF_ERROR(reader.Finish());
  return profile;
}

}  // namespace steadyrun::fleet
