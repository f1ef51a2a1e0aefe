#pragma once

#include <string>
#include <vector>

#include "base/ids.h"

namespace steadyrun::agent {

// Where the flight recorders of this node live: in memory if there is room
// (writing back to a disk never slows a training), else in the state directory.
// A folder in memory names the state directory it belongs to, so that what
// agents of removed directories left behind can be told and is removed.
class RecorderHome {
 public:
  // `root`: "/dev/shm/..."; empty: the state directory only.
  RecorderHome(const std::string& root, const std::string& state_directory,
               const std::string& state_uuid);

  // Paths to try for one rank, best first. Recorders of older attempts of the
  // run, and one of the same name, are removed: their ranks are gone.
  std::vector<std::string> Prepare(const RunId& run, AttemptId attempt,
                                   Rank rank) const;
  void RemoveRun(const RunId& run) const;

 private:
  std::vector<std::string> folders_;
};

}  // namespace steadyrun::agent
