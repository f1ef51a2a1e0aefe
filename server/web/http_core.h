#pragma once

// What the connections of one HTTP server share. Only files of the server
// itself include this: it brings Boost.

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/bounded_queue.h"
#include "server/web/http_server.h"

namespace steadyrun::http_io {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;
using Tcp = asio::ip::tcp;
using Error = boost::system::error_code;

class Connection;

// On the I/O thread, unless said otherwise.
struct Core {
  Core(const HttpServerOptions& server_options, HttpFrontend* served)
      : options(server_options),
        frontend(served),
        acceptor(io),
        retry(io),
        jobs(server_options.max_connections) {}

  const HttpServerOptions options;
  HttpFrontend* const frontend;
  asio::io_context io{1};
  Tcp::acceptor acceptor;
  asio::steady_timer retry;
  std::optional<ssl::context> tls;
  std::list<Connection*> idle;  // Between requests; longest idle first.
  // Handlers run on the worker thread.
  BoundedQueue<std::function<void()>> jobs;
  std::atomic<bool> stopped = false;

  // All that live; the last owner may be on any thread.
  absl::Mutex mutex;
  std::map<Connection*, std::weak_ptr<Connection>> connections
      ABSL_GUARDED_BY(mutex);
  std::size_t Count() ABSL_LOCKS_EXCLUDED(mutex) {
    absl::MutexLock lock(&mutex);
    return connections.size();
  }
};

// One client's socket, as the others see it. Holds itself by the pending
// operation.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  explicit Connection(std::shared_ptr<Core> core) : core_(std::move(core)) {}
  virtual ~Connection() {
    absl::MutexLock lock(&core_->mutex);
    core_->connections.erase(this);
  }
  virtual void Start() = 0;
  virtual void Close() = 0;

 protected:
  void Register() {
    absl::MutexLock lock(&core_->mutex);
    core_->connections.emplace(this, weak_from_this());
  }
  void EnterIdle() {
    idle_place_ = core_->idle.insert(core_->idle.end(), this);
  }
  void LeaveIdle() {
    if (idle_place_.has_value()) core_->idle.erase(*idle_place_);
    idle_place_.reset();
  }

  const std::shared_ptr<Core> core_;

 private:
  std::optional<std::list<Connection*>::iterator> idle_place_;
};

}  // namespace steadyrun::http_io
