#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/app/engine_loop.h"
#include "server/rpc/backend.h"
#include "server/storage/history.h"

namespace steadyrun {

// What the adapters see of the service: the engine's picture and how the loop
// and the store are doing. Thread-safe once the addresses are set.
class ServiceState final : public LiveState {
 public:
  // Both outlive this.
  ServiceState(const EngineLoop* loop, const History* history)
      : loop_(loop), history_(history) {}

  // Before anybody asks.
  void SetIdentity(std::uint64_t server_epoch, std::string server_id,
                   WallTime started);
  void SetAddresses(std::string grpc_address, std::string http_address);

  void SetNotifications(
      std::function<std::vector<NotificationStatus>()> notifications) {
    notifications_ = std::move(notifications);
  }

  std::shared_ptr<const EngineView> View() const override;
  ServiceStatus Status() const override;

 private:
  const EngineLoop* const loop_;
  const History* const history_;
  ServiceStatus fixed_;
  std::function<std::vector<NotificationStatus>()> notifications_;
  mutable absl::Mutex mutex_;
  std::string grpc_address_ ABSL_GUARDED_BY(mutex_);
  std::string http_address_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace steadyrun
