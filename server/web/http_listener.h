#pragma once

#include <memory>

#include "absl/status/status.h"
#include "server/web/http_core.h"

namespace steadyrun::http_io {

// INVALID_ARGUMENT names the file that cannot be used.
absl::Status LoadTls(const TlsFiles& files, Core* core);

// UNAVAILABLE if the address of the options cannot be bound.
absl::Status Listen(Core* core);

// Takes clients until the acceptor is closed; at the bound on connections, the
// longest idle one makes place, or the newcomer is sent away.
void AcceptNext(const std::shared_ptr<Core>& core);

}  // namespace steadyrun::http_io
