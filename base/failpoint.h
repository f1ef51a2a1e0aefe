#pragma once

#include <string_view>

namespace steadyrun {

// Ends this process with SIGKILL when it passes the named place. Armed by the
// environment variable STEADYRUN_FAILPOINT=name[:hits], hits = 1 by default:
// the process dies at the hits-th passage. Unarmed it costs one load.
// Used by the end-to-end tests to kill the server at each place of a recovery.
void Failpoint(std::string_view name);

}  // namespace steadyrun
