#pragma once

#include "base/config_reader.h"
#include "server/notify/notifier.h"

namespace steadyrun {

// The [notify] tables of server.toml. Secrets are in files of their own, named
// by *_file keys; they are read here, and what is wrong with them is reported
// at their key.
void ReadNotifier(ConfigReader* reader, NotifierOptions* options);

}  // namespace steadyrun
