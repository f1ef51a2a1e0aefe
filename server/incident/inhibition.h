#pragma once

// Which findings belong to one story. The rules in words; kRules has them as
// data. "Open" is the incident there is, "new" the finding that comes.
//
//   a fault of the same attempt that is not one of the following is a victim
//   node_lost replaces crash, hang, start_failed  if only victims were seen,
//     or the culprit is on that node, or it went silent first
//   crash replaces a crash of victims; a surer attribution replaces a
//     presumed one
//   nan replaces crash whose error is an exception at or after that step: an
//     assertion on the loss is NaN's own victim
//   a primary crash, or nan, or node_lost on another node than the culprit's
//     is a cause of its own
//   node_lost takes over agent_lost of the same node

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

// How `finding` relates to an open incident of the same run. What is known of
// the open one besides its record.
struct OpenCause {
  const Incident* incident = nullptr;
  bool is_provisional = false;
  bool is_victim = false;
  Now onset;
};
Relation Relate(const OpenCause& open, const Finding& finding);

}  // namespace steadyrun
