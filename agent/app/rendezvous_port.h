#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace steadyrun::agent {

// Holds a free TCP port for the next attempt's rendezvous: bound, so that the
// kernel gives it to nobody else, and not listening, so that a rank may bind
// it the moment it is released. Not thread-safe.
class RendezvousPort {
 public:
  // `address`: where peers reach this node; names are resolved.
  explicit RendezvousPort(std::string address);
  ~RendezvousPort();
  RendezvousPort(const RendezvousPort&) = delete;
  RendezvousPort& operator=(const RendezvousPort&) = delete;

  // Takes a new port if none is held. UNAVAILABLE if the address is not one
  // of this machine's.
  absl::Status Hold();
  void Release();
  std::int32_t port() const { return port_; }  // 0: none is held.

 private:
  std::string address_;
  int fd_ = -1;
  std::int32_t port_ = 0;
};

// The address of this machine from which `server` ("host:port") is reached;
// empty if there is no route.
std::string LocalAddressTowards(const std::string& server);

// Whether `host_port` names this machine by a loopback address.
bool IsLoopback(const std::string& host_port);

}  // namespace steadyrun::agent
