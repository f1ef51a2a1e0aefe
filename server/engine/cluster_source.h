#pragma once

#include <cstdint>

#include "base/clock.h"
#include "server/engine/engine.h"
#include "server/engine/sessions.h"
#include "server/recovery/cluster_view.h"

namespace steadyrun {

// The cluster as all runs together make it: who is connected, who serves whom.
class ClusterSource {
 public:
  virtual ~ClusterSource() = default;
  // Valid until the next event.
  virtual ClusterView View(Now now) const = 0;
};

// What the controllers of all runs share. All outlive the controllers.
struct EngineCore {
  Sessions* sessions = nullptr;
  const ClusterSource* cluster = nullptr;
  std::uint64_t server_epoch = 0;
  EngineMutation mutation = EngineMutation::kNone;
};

}  // namespace steadyrun
