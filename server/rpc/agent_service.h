#pragma once

#include <cstdint>
#include <memory>

#include "server/rpc/backend.h"
#include "server/rpc/credentials.h"
#include "server/rpc/session_registry.h"

namespace grpc {
class Service;
}

namespace steadyrun {

// What came over all streams since the start.
struct AgentTrafficCounts {
  std::uint64_t messages = 0;
  std::uint64_t reports_accepted = 0;  // Handed to the engine.
  std::uint64_t reports_malformed = 0;
  std::uint64_t reports_refused = 0;   // The engine's queue was full.
  std::uint64_t commands_dropped = 0;  // A stream's outgoing queue was full.
};

// All outlive the endpoint.
struct AgentServiceBackend {
  EventSink* sink = nullptr;
  SessionRegistry* registry = nullptr;
  const TokenSet* tokens = nullptr;
  const Clock* clock = nullptr;
};

// AgentService over gRPC: checks and converts messages into events. Owned by
// app, which hands Service() to the GrpcServer. Thread-safe.
class AgentEndpoint {
 public:
  explicit AgentEndpoint(const AgentServiceBackend& backend);
  ~AgentEndpoint();
  grpc::Service* Service();
  AgentTrafficCounts Counts() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace steadyrun
