#pragma once

// The incidents of one run: findings in, stories out. One cause, one incident.
//
// Two sorts. Attempt-ending ones (crash, hang, node_lost, nan, start_failed)
// wait for recovery: they close together at the first new step. Conditions
// (agent_lost, checkpoint_bad, checkpoint_overdue, storage) stand beside them
// and close when their cause goes away.
//
// Every change marks the incident; TakeChanged() hands the changed ones out
// for one transaction. Bounded: kMaxOpen incidents open at once, evidence and
// timeline as in the model. One thread; pure.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "server/detect/watched_attempt.h"
#include "server/incident/inhibition.h"
#include "server/model/incident.h"

namespace steadyrun {

// Past this many open incidents of a run, further findings become evidence of
// the newest: a run in such trouble is not explained by a longer list.
inline constexpr std::size_t kMaxOpenIncidents = 32;

// What became of a finding.
struct Booked {
  std::int64_t incident = 0;  // Number it went to; 0: dropped as stale.
  bool is_new = false;        // It opened that incident.
  // Kind or culprit of an open incident changed: a plan made for the former
  // ones must be made again.
  bool cause_changed = false;
  // It ends the attempt and is news: open a recovery, or adapt the one there.
  bool needs_recovery = false;
};

class IncidentBook {
 public:
  // `last_number` is RunState::incidents.
  IncidentBook(RunId run, std::int64_t last_number);

  // An open incident from the store. Its onset is placed on the monotonic
  // clock by the age its wall time tells.
  void Restore(const Incident& incident, Now now);

  Booked Observe(const Finding& finding, Now now);
  // Ends what the clearance names as recovered; an empty node: all of that
  // kind. False when there is none.
  bool Clear(const Clearance& clearance, Now now);

  // The recovery's own marks. Unknown numbers are ignored.
  void SetRemediation(std::int64_t number, std::string remediation);
  void AddStepsLost(std::int64_t number, std::int64_t steps);
  void AddTimeline(std::int64_t number, std::string text, Now now);
  void AddEvidence(std::int64_t number, std::string line);
  // The same line in every open attempt-ending incident.
  void AddTimelineToRecovering(const std::string& text, Now now);

  // The first new step was made by `attempt`: all attempt-ending incidents of
  // older attempts are recovered. Those of `attempt` itself stay open.
  void Recover(AttemptId attempt, Step step, Now now);
  // A new attempt begins: what was judged of the training of older ones and
  // was not acted on cannot be confirmed or cleared any more.
  void LeaveTraining(AttemptId attempt, Now now);
  // The run ended or halted: everything open is closed with this reason.
  // Conditions too when `include_conditions`.
  void CloseAll(const std::string& reason, bool include_conditions, Now now);

  // The attempt-ending incident that came first among those not recovered;
  // nullptr when there is none.
  const Incident* Recovering() const;
  const Incident* Find(std::int64_t number) const;
  std::vector<const Incident*> Open() const;  // By number.
  std::int64_t LastNumber() const { return last_number_; }

  // Changed since the last call, by number; closed ones leave the book.
  std::vector<Incident> TakeChanged();

 private:
  struct Entry {
    Incident incident;
    MonoTime onset;
    MonoTime detected;
    bool is_provisional = false;
    bool is_victim = false;
    bool is_independent = false;
  };

  static OpenCause CauseOf(const Entry& entry);
  Entry* Newest();
  Booked OpenNew(const Finding& finding, Now now);
  Booked Replace(Entry& entry, const Finding& finding, Now now);
  Booked Confirm(Entry& entry, const Finding& finding, Now now);
  Booked Accompany(Entry& entry, const Finding& finding, Now now);
  void TakeClaim(Entry& entry, const Finding& finding);
  void Close(Entry& entry, IncidentState state, const std::string& why,
             Now now);
  // Conditions that told of a lost node's silence in smaller words.
  void EndConditionsOf(const NodeId& node, std::int64_t cause, Now now);
  void Touch(const Entry& entry) { changed_.insert(entry.incident.number); }

  RunId run_;
  std::int64_t last_number_ = 0;
  std::map<std::int64_t, Entry> entries_;  // Open, and closed but not taken.
  std::set<std::int64_t> changed_;
};

}  // namespace steadyrun
