#include "fleet/sim/fault_plan.h"

#include <algorithm>
#include <cmath>

#include "fleet/sim/random.h"

namespace steadyrun::fleet {
namespace {

enum Stream : std::uint64_t {
  kCounts = 101,
  kFaults,
  kLemons,
  kCorrelated,
  kExact
};

// Before this a run has no history that could be judged.
constexpr std::int64_t kFirstStep = 30;
constexpr double kDaySeconds = 86400;

double DaysOf(const FleetProfile& profile, const PlanShape& shape) {
  return profile.job.step_seconds * static_cast<double>(shape.steps) /
         kDaySeconds;
}

std::int32_t Nodes(const FleetProfile& profile, std::int32_t ranks) {
  return (ranks + profile.job.ranks_per_node - 1) / profile.job.ranks_per_node;
}

// Severity log-normal around `median`, as slowness is distributed (3.9).
double LogNormal(Random& random, double median, double sigma, double low,
                 double high) {
  return std::clamp(median * std::exp(sigma * random.Normal()), low, high);
}

std::int64_t Minutes(const FleetProfile& profile, double minutes) {
  return std::max<std::int64_t>(
      60, std::llround(minutes * 60 / profile.job.step_seconds));
}

// Which ranks: one, a whole node, or an eighth of the job (a pipeline stage
// or a rack).
void DrawScope(Random& random, const FleetProfile& profile, std::int32_t ranks,
               Fault* fault) {
  const std::int32_t per_node = profile.job.ranks_per_node;
  const double u = random.Uniform();
  const auto rank = static_cast<std::int32_t>(random.Below(ranks));
  const std::int32_t group = std::max(2 * per_node, ranks / 8);
  if (u < 0.5 || ranks < 4 * per_node) {
    fault->scope = FaultScope::kRank;
    fault->rank = Rank{rank};
  } else if (u < 0.8 || ranks < 8 * group) {
    fault->scope = FaultScope::kNode;
    fault->rank = Rank{rank / per_node * per_node};
    fault->ranks = std::min(per_node, ranks - fault->rank.value);
  } else {
    fault->scope = FaultScope::kGroup;
    fault->rank = Rank{rank / group * group};
    fault->ranks = std::min(group, ranks - fault->rank.value);
  }
}

class Planner {
 public:
  Planner(const FleetProfile& profile, const PlanShape& shape)
      : profile_(profile), shape_(shape) {
    Random random(shape.seed, kLemons);
    const std::int32_t nodes = Nodes(profile, shape.ranks);
    const auto lemons = static_cast<std::int32_t>(
        std::ceil(profile.faults.lemon_nodes * nodes));
    for (std::int32_t i = 0; i < lemons; ++i) {
      lemons_.push_back(static_cast<std::int32_t>(random.Below(nodes)));
    }
  }

  std::vector<Fault> Plan() {
    for (std::size_t k = 0; k < kFaultKinds; ++k) {
      AddKind(static_cast<FaultKind>(k));
    }
    AddExact();
    AddCorrelated();
    std::ranges::stable_sort(faults_, {}, &Fault::onset);
    std::int32_t id = 0;
    for (Fault& fault : faults_) fault.id = ++id;
    return std::move(faults_);
  }

 private:
  void AddKind(FaultKind kind) {
    const auto k = static_cast<std::size_t>(kind);
    const FaultRates& rates = profile_.faults;
    const double days = DaysOf(profile_, shape_);
    Random counts(shape_.seed, kCounts, k);
    const double mean = days * (rates.per_node_day * rates.mix[k] *
                                    Nodes(profile_, shape_.ranks) +
                                rates.per_day[k]);
    const std::int64_t drawn = mean > 0 ? counts.Poisson(mean) : 0;
    Random random(shape_.seed, kFaults, k);
    for (std::int64_t i = 0; i < drawn; ++i) {
      Add(kind, RandomOnset(random, 0, 1), random);
    }
  }

  // So many of each, shuffled, each in a part of the run of its own: so that
  // most can be told from the one before.
  void AddExact() {
    std::vector<FaultKind> kinds;
    for (std::size_t k = 0; k < kFaultKinds; ++k) {
      const auto count = static_cast<std::size_t>(profile_.faults.exactly[k]);
      kinds.insert(kinds.end(), count, static_cast<FaultKind>(k));
    }
    Random random(shape_.seed, kExact);
    for (std::size_t i = kinds.size(); i > 1; --i) {
      std::swap(kinds[i - 1], kinds[static_cast<std::size_t>(
                                  random.Below(static_cast<std::int64_t>(i)))]);
    }
    const auto parts = static_cast<double>(kinds.size());
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      const auto part = static_cast<double>(i);
      Add(kinds[i], RandomOnset(random, part / parts, (part + 0.3) / parts),
          random);
    }
  }

  Step RandomOnset(Random& random, double from, double to) {
    const double usable = static_cast<double>(
        std::max<std::int64_t>(1, shape_.steps - kFirstStep));
    return Step{kFirstStep +
                static_cast<std::int64_t>(usable * random.Uniform(from, to))};
  }

  void Add(FaultKind kind, Step onset, Random& random) {
    Fault fault = DrawFault(kind, onset, profile_, shape_.ranks, random);
    const bool is_of_node = StopsTheJob(kind) ||
                            kind == FaultKind::kStraggler ||
                            kind == FaultKind::kCorruption;
    if (is_of_node && fault.scope != FaultScope::kGroup && !lemons_.empty() &&
        random.Chance(profile_.faults.lemon_failures)) {
      const std::int32_t per_node = profile_.job.ranks_per_node;
      const std::int32_t node = lemons_[static_cast<std::size_t>(
          random.Below(static_cast<std::int64_t>(lemons_.size())))];
      const std::int32_t within =
          fault.scope == FaultScope::kRank
              ? static_cast<std::int32_t>(random.Below(per_node))
              : 0;
      fault.rank = Rank{std::min(node * per_node + within, shape_.ranks - 1)};
    }
    faults_.push_back(std::move(fault));
  }

  // Neighbours that fall at once: a rack, a power supply, a switch.
  void AddCorrelated() {
    const double mean =
        profile_.faults.correlated_per_day * DaysOf(profile_, shape_);
    if (mean <= 0) return;
    Random random(shape_.seed, kCorrelated);
    const std::int64_t events = random.Poisson(mean);
    const std::int32_t nodes = Nodes(profile_, shape_.ranks);
    for (std::int64_t i = 0; i < events; ++i) {
      const Step onset = RandomOnset(random, 0, 1);
      const std::int64_t count = 2 + random.Below(4);
      const std::int64_t first = random.Below(nodes);
      const double moment = random.Uniform();
      for (std::int64_t n = first;
           n < std::min<std::int64_t>(first + count, nodes); ++n) {
        Fault fault = DrawFault(FaultKind::kNodeLost, onset, profile_,
                                shape_.ranks, random);
        fault.rank =
            Rank{static_cast<std::int32_t>(n * profile_.job.ranks_per_node)};
        fault.variant = moment;
        fault.comment = "one of several at once";
        faults_.push_back(std::move(fault));
      }
    }
  }

  const FleetProfile& profile_;
  const PlanShape& shape_;
  std::vector<std::int32_t> lemons_;
  std::vector<Fault> faults_;
};

}  // namespace

std::vector<Fault> PlanFaults(const FleetProfile& profile,
                              const PlanShape& shape) {
  return Planner(profile, shape).Plan();
}

Fault DrawFault(FaultKind kind, Step onset, const FleetProfile& profile,
                std::int32_t ranks, Random& random) {
  Fault fault;
  fault.kind = kind;
  fault.onset = onset;
  fault.rank = Rank{static_cast<std::int32_t>(random.Below(ranks))};
  fault.variant = random.Uniform();
  const std::int32_t per_node = profile.job.ranks_per_node;
  switch (kind) {
    case FaultKind::kCrash:
    case FaultKind::kHang:
    case FaultKind::kNan:
    case FaultKind::kCorruption:
      break;
    case FaultKind::kLinkLost:
    case FaultKind::kNodeLost:
    case FaultKind::kAgentLost:
      fault.scope = FaultScope::kNode;
      fault.rank = Rank{fault.rank.value / per_node * per_node};
      fault.ranks = std::min(per_node, ranks - fault.rank.value);
      // Seconds, of a lost agent: long enough that the run is seen to go on.
      fault.severity = 10 + profile.job.step_seconds * random.Uniform(5, 12);
      break;
    case FaultKind::kStraggler:
      DrawScope(random, profile, ranks, &fault);
      fault.severity = LogNormal(random, 0.10, 0.6, 0.025, 1.0);
      // 10 to 72 minutes; 30 % stay (3.10).
      fault.steps =
          random.Chance(0.3) ? 0 : Minutes(profile, random.Uniform(10, 72));
      break;
    case FaultKind::kSlowdown:
      fault.scope = FaultScope::kJob;
      fault.severity = LogNormal(random, 0.25, 0.4, 0.12, 2.0);
      fault.steps = Minutes(profile, random.Uniform(12, 48));
      break;
    case FaultKind::kDataStall:
      DrawScope(random, profile, ranks, &fault);
      fault.severity = random.Uniform(0.3, 2);  // Of a step.
      fault.steps = 5 + random.Below(100);
      break;
    case FaultKind::kCheckpointSlow:
      fault.scope = FaultScope::kJob;
      fault.severity = random.Uniform(3, 8);  // Times as long.
      fault.steps =
          6 * std::max<std::int64_t>(1, profile.phases.checkpoint_steps);
      break;
    case FaultKind::kSpikeBenign:
      fault.scope = FaultScope::kJob;
      fault.severity = random.Uniform(0.3, 2.5);  // Nats.
      fault.steps = 10 + random.Below(25);
      break;
    case FaultKind::kSpikeMalignant:
      fault.scope = FaultScope::kJob;
      fault.severity = random.Uniform(0.5, 3);
      fault.steps = 400;  // Then somebody has noticed in any case.
      break;
    case FaultKind::kDivergence:
      fault.scope = FaultScope::kJob;
      fault.severity = random.Uniform(0.4, 1.5);  // Nats in 300 steps.
      fault.steps = 600;
      break;
    case FaultKind::kGradExplosion:
      fault.scope = FaultScope::kJob;
      fault.severity = random.Uniform(10, 100);  // Times as high.
      fault.steps = 3 + random.Below(15);
      break;
    case FaultKind::kKlBlowup:
    case FaultKind::kEntropyCollapse:
    case FaultKind::kRewardCollapse:
    case FaultKind::kLengthExplosion:
    case FaultKind::kRolloutMismatch:
      fault.scope = FaultScope::kJob;
      fault.severity = random.Uniform(1, 2);
      fault.steps = 60 + random.Below(60);
      break;
    case FaultKind::kGenerationStall:
      fault.scope = FaultScope::kJob;
      fault.severity = random.Uniform(4, 8);  // Times as long.
      fault.steps = 5 + random.Below(10);
      break;
  }
  if (fault.scope == FaultScope::kJob) {
    fault.rank = kNoRank;
    fault.ranks = ranks;
  }
  return fault;
}

}  // namespace steadyrun::fleet
