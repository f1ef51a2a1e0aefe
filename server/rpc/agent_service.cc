#include "server/rpc/agent_service.h"

#include "server/rpc/agent_stream.h"
#include "server/rpc/poller_rest.h"

namespace steadyrun {
namespace {

// No new stream for this long: a storm of agents that come back is over.
constexpr Duration kCalm = std::chrono::seconds(3);

}  // namespace

class AgentEndpoint::Impl final : public v1::AgentService::CallbackService {
 public:
  explicit Impl(const AgentServiceBackend& backend) : backend_(backend) {}

  grpc::ServerBidiReactor<v1::AgentMessage, v1::ServerMessage>* Connect(
      grpc::CallbackServerContext* context) override {
    pollers_.Wake();  // Streams rarely come alone.
    return AgentStream::Open(context, backend_, &traffic_);
  }

  const AgentTraffic& Traffic() const { return traffic_; }

 private:
  const AgentServiceBackend backend_;
  AgentTraffic traffic_;
  PollerRest pollers_{kCalm};
};

AgentEndpoint::AgentEndpoint(const AgentServiceBackend& backend)
    : impl_(std::make_unique<Impl>(backend)) {}
AgentEndpoint::~AgentEndpoint() = default;

grpc::Service* AgentEndpoint::Service() { return impl_.get(); }

AgentTrafficCounts AgentEndpoint::Counts() const {
  const AgentTraffic& traffic = impl_->Traffic();
  return {traffic.messages.load(), traffic.reports_accepted.load(),
          traffic.reports_malformed.load(), traffic.reports_refused.load(),
          traffic.commands_dropped.load()};
}

}  // namespace steadyrun
