#pragma once

// What Steadyrun is allowed to do for one run, as a plain value: the TOML of
// policy_parser.h in, decisions of the engine out. No behaviour here besides
// look-up; allowance.h answers "may it restart now?".
//
// Every field says its TOML key, unit, default and what it costs to change it.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "server/detect/options.h"
#include "server/model/finding.h"

namespace steadyrun {

// How far the service goes by itself for one kind of incident.
enum class Mode {
  kObserve,  // Detect and record.
  kAdvise,   // Also write down the decision it would have carried out, and
             // page; an operator carries it out. This is the approval mode.
  kAct,      // Carry it out.
};
std::string_view ModeName(Mode mode);  // "observe", "advise", "act"

// One rung of a ladder.
enum class Remedy {
  kNone,         // Nothing to do; the incident closes when the cause does.
  kPage,         // Tell a person.
  kSave,         // Order a checkpoint now.
  kRestart,      // Stop all ranks, start again from the newest checkpoint.
  kReplaceNode,  // As restart, without the culprit's node if a spare is there.
  kRollback,     // As restart, from a checkpoint before the onset.
  kHalt,         // Stop all ranks and wait for an operator.
};
std::string_view RemedyName(Remedy remedy);  // "none", "replace_node", ...
// True for the rungs that end the attempt.
bool StopsTheAttempt(Remedy remedy);

// Rungs of one ladder; more than this is a mistake in the file.
inline constexpr std::size_t kMaxRungs = 8;

// [incident.<kind>]
struct KindPolicy {
  // `mode`. Acting sooner costs a needless restart when a detector is wrong;
  // observing costs the time until a person comes.
  Mode mode = Mode::kAct;
  // `ladder`, 1 to 8 rungs. The n-th failure in a row without progress takes
  // rung n; past the end the last rung repeats, until a limit of [restart]
  // halts the run.
  std::vector<Remedy> ladder = {Remedy::kRestart};
  // `cooldown`, 0 s. After an action on this kind, further findings of the
  // kind wait this long. Longer: fewer restarts under a flapping fault, and
  // slower recovery from a second real one.
  Duration cooldown{};
  friend bool operator==(const KindPolicy&, const KindPolicy&) = default;
};

// [restart]: what bounds automatic restarts. A restart an operator ordered
// is never counted.
struct RestartPolicy {
  // `per_hour`, 30; `per_day`, 200. Rolling windows over automatic restarts,
  // kept across restarts of the service. Lower: a flapping cluster halts
  // sooner and waits for a person; higher: it burns the budget of the machine.
  // The defaults are wide since the two limits below catch what repeats.
  std::int32_t restarts_per_hour = 30;
  std::int32_t restarts_per_day = 200;
  // `same_failure_limit`, 3: this many failures of equal kind and signature
  // at the same step (within `same_failure_steps`, 2) halt the run: it is the
  // code or the data. 2 would halt on a coincidence of two.
  std::int32_t same_failure_limit = 3;
  std::int64_t same_failure_steps = 2;
  // `no_progress_limit`, 3: after this many restarts in a row that reached no
  // new step, the next failure halts.
  std::int32_t no_progress_limit = 3;
  // `backoff`, 0 s, 2 s, 10 s, 30 s: wait before the n-th restart without
  // progress; the last repeats. The first is free, since most faults are gone
  // with the process.
  std::vector<Duration> backoff = {
      std::chrono::seconds(0), std::chrono::seconds(2),
      std::chrono::seconds(10), std::chrono::seconds(30)};
  friend bool operator==(const RestartPolicy&, const RestartPolicy&) = default;
};

// [quarantine]: which nodes later attempts do not use.
struct QuarantinePolicy {
  // `blamed_limit`, 2 within `blamed_within`, 24 h. A healthy node (3.8
  // failures in 1,000 node-days) is blamed twice in a day once in 140,000
  // node-days. 0 turns quarantine off.
  std::int32_t blamed_limit = 2;
  Duration blamed_within{std::chrono::hours(24)};
  // `use_as_last_resort`, true: with no other node left, a quarantined one is
  // used rather than the run stand still.
  bool use_as_last_resort = true;
  friend bool operator==(const QuarantinePolicy&,
                         const QuarantinePolicy&) = default;
};

// [checkpoint], besides the keys of CheckpointOptions.
struct SavePolicy {
  // `trust_steps`, 20 healthy steps after it make a checkpoint trusted. More:
  // a slow poison is likelier to show first; fewer: less work is lost.
  std::int64_t trust_steps = 20;
  // `save_margin`, 1.5 s: how far ahead of all ranks the step of a commanded
  // save lies: ceil(margin / step time) + 2. Shorter: sooner, and more often
  // missed, which doubles it.
  Duration margin{std::chrono::milliseconds(1500)};
  // `save_attempts`, 5: how often a missed step is put further ahead.
  std::int32_t attempts = 5;
  friend bool operator==(const SavePolicy&, const SavePolicy&) = default;
};

// [timeouts]
struct TimeoutPolicy {
  // `start`, 15 min from the order to the first step of all ranks. Above the
  // startup phase's own deadline, it catches what that cannot see.
  Duration start{std::chrono::minutes(15)};
  // `stop`, 30 s: a page when a node has not confirmed by then. The run keeps
  // waiting: without proof nothing is started.
  Duration stop{std::chrono::seconds(30)};
  // `stop_grace`, 0 s between SIGTERM and SIGKILL when an attempt is ended
  // after a fault. Longer lets trainers clean up, and adds to each recovery.
  Duration stop_grace{};
  // `pause_save`, 60 s: a pause that cannot save stops the ranks after this.
  Duration pause_save{std::chrono::seconds(60)};
  // `verify`, 120 s for the nodes to re-read the shards they resume from.
  Duration verify{std::chrono::seconds(120)};
  friend bool operator==(const TimeoutPolicy&, const TimeoutPolicy&) = default;
};

struct Policy {
  std::array<KindPolicy, kIncidentKinds> kinds;  // By IncidentKind.
  RestartPolicy restart;
  QuarantinePolicy quarantine;
  SavePolicy save;
  TimeoutPolicy timeouts;
  // [detect.*] and the interval keys of [checkpoint]: documented in
  // server/detect/options.h.
  DetectOptions detect;

  const KindPolicy& For(IncidentKind kind) const {
    return kinds[static_cast<std::size_t>(kind)];
  }
  KindPolicy& For(IncidentKind kind) {
    return kinds[static_cast<std::size_t>(kind)];
  }
  friend bool operator==(const Policy&, const Policy&) = default;
};

// For a run that Steadyrun launched: acts on what ends or poisons a run.
Policy DefaultPolicy();
// The same with every kind on observe: for a run that is only watched.
Policy ObserveOnly(Policy policy);

// How far the policy goes for the failures that end most runs, for people: one
// word if it is the same for crashes, hangs and lost nodes, else such as
// "act: crash; advise: hang, node_lost".
std::string DescribeMode(const Policy& policy);

// The rung for the n-th failure in a row without progress, n from 0.
Remedy RungOf(const KindPolicy& kind, std::int32_t failures);
// The first rung for an incident. A judgement about the training gets no
// further than its detector asks for: a ladder of "rollback" pages while a
// spike may be benign.
Remedy FirstRemedy(const Policy& policy, IncidentKind kind, Advice advice);

}  // namespace steadyrun
