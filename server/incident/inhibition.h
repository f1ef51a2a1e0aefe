#pragma once

// Which findings belong to one story: the inhibition table.
//
// "Open" is an incident there is, "new" a finding about the same attempt.
//   new \ open     crash      hang       node_lost  nan        start_failed
//   crash          attribute  victim*    victim*    victim*    victim*
//   hang           victim     same       victim     victim     victim
//   node_lost      explains   explains   another    another    explains
//   nan            poisons    another    another    same       another
//   start_failed   victim     victim     victim     victim     same
// attribute  equal culprit: the same. Presumed culprit: the better one
//            replaces it. Surely another node's fault: another incident.
// victim*    a line of evidence, unless it cannot be a consequence (killed
//            from outside) and sits on another node: then another incident.
// explains   takes the incident over if only victims were seen, or the
//            culprit is on the lost node or unknown, or the node fell silent
//            first and the open one may be a consequence; else another.
// poisons    takes a crash over that may be a consequence and came at or
//            after that step (an assertion on the loss); else another.
// Conditions (agent_lost, checkpoint_*, storage) stand beside all of these;
// only node_lost takes over agent_lost of its node.
// Of the training, causes take over what they cause and keep it as evidence:
//   nan           loss_spike, grad_explosion, loss_scale, divergence
//   loss_spike    grad_explosion
//   divergence    loss_spike, grad_explosion
//   straggler, data_stall, generation_stall   slowdown
//   rollout_mismatch   kl_blowup
//   reward_hacking     kl_blowup, length_explosion
// and a consequence that comes while its cause is open is a line of evidence.

#include "base/clock.h"
#include "server/model/finding.h"
#include "server/model/incident.h"

namespace steadyrun {

enum class Relation {
  kSameCause,    // The same claim again, perhaps with better words.
  kBetterCause,  // Explains what the incident holds: takes its place.
  kVictim,       // Explained by the incident: a line of evidence.
  kIndependent,  // A fault of its own.
};

// Kinds that end an attempt when acted on; the others only accompany it.
bool EndsAttempt(IncidentKind kind);
// Also what began as a judgement about the training and asks for as much.
bool EndsAttempt(const Incident& incident);

// An open incident, as far as the rules ask for it.
struct OpenCause {
  IncidentKind kind = IncidentKind::kCrash;
  AttemptId attempt;
  Culprit culprit;
  Step step = kNoStep;
  MonoTime onset;
  bool is_provisional = false;
  bool is_victim = false;
  bool is_independent = false;
};

// How `finding` relates to an open incident of the same run. A finding about
// another attempt is independent of it.
Relation Relate(const OpenCause& open, const Finding& finding);

}  // namespace steadyrun
