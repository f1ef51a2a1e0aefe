#include "server/app/service_state.h"

#include <utility>

#include "base/version.h"

namespace steadyrun {

void ServiceState::SetIdentity(std::uint64_t server_epoch,
                               std::string server_id, WallTime started) {
  fixed_.version = kVersion;
  fixed_.server_epoch = server_epoch;
  fixed_.server_id = std::move(server_id);
  fixed_.started = started;
  fixed_.database = history_->Path();
  fixed_.schema_version = history_->SchemaVersion();
}

void ServiceState::SetAddresses(std::string grpc_address,
                                std::string http_address) {
  absl::MutexLock lock(&mutex_);
  grpc_address_ = std::move(grpc_address);
  http_address_ = std::move(http_address);
}

std::shared_ptr<const EngineView> ServiceState::View() const {
  return loop_->View();
}

ServiceStatus ServiceState::Status() const {
  ServiceStatus status = fixed_;
  const EngineLoopStatus loop = loop_->Status();
  status.storage_ok = loop.storage_ok;
  status.storage_error = loop.storage_error;
  status.storage_bytes = static_cast<std::uint64_t>(history_->DiskBytes());
  status.tick_age = loop.tick_age;
  status.queue_depth = loop.queue_depth;
  status.queue_capacity = loop.queue_capacity;
  status.queue_refused = loop.queue_refused;
  status.commits = loop.commits;
  if (notifications_) status.notifications = notifications_();
  absl::MutexLock lock(&mutex_);
  status.grpc_address = grpc_address_;
  status.http_address = http_address_;
  return status;
}

}  // namespace steadyrun
