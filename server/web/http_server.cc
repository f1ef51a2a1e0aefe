#include "server/web/http_server.h"

#include <pthread.h>

#include <boost/asio/post.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "base/logging.h"
#include "base/status_macros.h"
#include "server/web/http_core.h"
#include "server/web/http_listener.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {

using http_io::AcceptNext;
using http_io::Connection;
using http_io::Core;
using http_io::Error;

class HttpServer::Impl {
 public:
  Impl(const HttpServerOptions& options, HttpFrontend* frontend)
      : core(std::make_shared<Core>(options, frontend)) {}

  void Run() {
    AcceptNext(core);
    io_thread = std::thread([this] { core->io.run(); });
    pthread_setname_np(io_thread.native_handle(), "sr-http");
    worker = std::thread([this] { Work(); });
    pthread_setname_np(worker.native_handle(), "sr-http-work");
  }

  void Work() {
    while (!core->jobs.Closed()) {
      for (auto& job : core->jobs.PopBatch(16, std::chrono::seconds(1))) {
        try {
          job();
        } catch (const std::exception& error) {
          // Of a library (memory); the client sees its connection end.
          spdlog::error("http handler failed {}", Kv("reason", error.what()));
        }
      }
    }
    // Waiting jobs hold connections, which hold the queue.
    while (!core->jobs.PopBatch(16, std::chrono::seconds(0)).empty()) {
    }
  }

  void Stop() {
    if (!io_thread.joinable()) return;
    core->jobs.Close();
    worker.join();
    core->stopped = true;
    boost::asio::post(core->io, [core = core] { CloseAll(core.get()); });
    io_thread.join();  // Ends once nothing is pending any more.
  }

  static void CloseAll(Core* core) {
    Error ignored;
    core->acceptor.close(ignored);
    core->retry.cancel();
    std::vector<std::shared_ptr<Connection>> open;
    {
      absl::MutexLock lock(&core->mutex);
      for (const auto& [address, weak] : core->connections) {
        if (auto connection = weak.lock()) open.push_back(connection);
      }
    }
    for (const auto& connection : open) connection->Close();
  }

  const std::shared_ptr<Core> core;
  int port = 0;
  std::string host;
  std::thread io_thread;
  std::thread worker;
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    const HttpServerOptions& options, HttpFrontend* frontend) {
  RETURN_IF_ERROR(CheckExposure("HTTP", options.address,
                                options.tls.IsEnabled(), options.has_tokens,
                                options.insecure));
  auto impl = std::make_unique<Impl>(options, frontend);
  RETURN_IF_ERROR(LoadTls(options.tls, impl->core.get()));
  RETURN_IF_ERROR(Listen(impl->core.get()));
  impl->host = ParseHostPort(options.address)->host;
  Error error;
  impl->port = impl->core->acceptor.local_endpoint(error).port();
  impl->Run();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() { Stop(); }

int HttpServer::Port() const { return impl_->port; }

std::string HttpServer::Address() const {
  return impl_->host.find(':') == std::string::npos
             ? fmt::format("{}:{}", impl_->host, impl_->port)
             : fmt::format("[{}]:{}", impl_->host, impl_->port);
}

void HttpServer::Stop() { impl_->Stop(); }

}  // namespace steadyrun
