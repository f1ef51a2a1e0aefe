#pragma once

#include <string>
#include <vector>

#include "agent/core/event.h"
#include "base/clock.h"
#include "base/ids.h"

namespace steadyrun::agent {

// Where the steps of a rank come from whose code does not report them. Used by
// one thread at a time.
class StepSource {
 public:
  virtual ~StepSource() = default;

  // StepsRead since the last call; reads a bounded part.
  virtual std::vector<Event> Poll(Now now) = 0;
  // After the rank has ended: everything that is left.
  virtual std::vector<Event> Drain(Now now) = 0;

  virtual Step last_step() const = 0;  // kNoStep: none yet.
  // What is worth a line of the agent's log, since the last call.
  virtual std::vector<std::string> TakeNotes() = 0;

  // Where a successor reads on after all that was returned up to now. Empty:
  // not now, something is held.
  virtual std::string Cursor() const = 0;
  // Call when everything that was returned before `cursor` was taken is
  // durable in the spool: a restarted agent reads on from there. What was read
  // since is read twice after a crash; the server merges equal rows.
  virtual void WriteCursor(const std::string& cursor) = 0;
};

}  // namespace steadyrun::agent
