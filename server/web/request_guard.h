#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "server/web/http_server.h"

namespace steadyrun {

// Whom a browser may be sent by. Pure.

// PERMISSION_DENIED unless the Host header is an IP address, localhost or one
// of `allowed`: a foreign page that points its own name at this address (DNS
// rebinding) must not read from here.
absl::Status CheckHost(const HttpRequest& request,
                       const std::vector<std::string>& allowed);

// For whatever changes something. A foreign page cannot send this content type
// or this header without asking first, and no such question is answered.
absl::Status CheckAction(const HttpRequest& request);

// For what other programs post, which send no header of ours: a browser gives
// itself away by some of its own, and is refused.
absl::Status CheckMachine(const HttpRequest& request);

}  // namespace steadyrun
