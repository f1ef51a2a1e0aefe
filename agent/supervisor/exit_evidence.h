#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proto/messages/messages.h"

namespace steadyrun::agent {

// What a dead rank's last output says about why it died. Pure on text, which
// is hostile: any bytes, any length.
struct ExitEvidence {
  // The last exception line of the rank's own failure, cleaned; empty if none.
  std::string error;
  // At most 20 lines of at most 400 bytes, cleaned, secrets masked.
  std::vector<std::string> last_lines;
  // The error tells of a peer's end (connection reset, collective timeout).
  bool is_secondary = false;
  // Equal for equal failures: exception type + innermost frame of the user's
  // code, or the signal, or the exit code. No addresses, numbers or lines.
  std::string signature;
};

// `tail`: the end of stderr (of stdout where stderr is empty).
ExitEvidence ReadExitEvidence(std::string_view tail, const ExitStatus& exit);

// Whether one line is an error that a peer's end causes.
bool IsSecondaryError(std::string_view line);

}  // namespace steadyrun::agent
