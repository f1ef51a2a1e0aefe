#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/rpc/credentials.h"

namespace steadyrun {

// What a handler sees of a request. Header names are lower case.
struct HttpRequest {
  std::string peer;    // IP address of the client, or of a proxy before it.
  std::string method;  // "GET", "POST", ...
  std::string path;    // Percent-decoded, without the query.
  std::map<std::string, std::string> query;
  std::map<std::string, std::string> headers;
  std::string body;

  std::string_view Header(const std::string& name) const {
    const auto it = headers.find(name);
    return it == headers.end() ? std::string_view() : it->second;
  }
};

// An answer without an end: sent piece by piece until the client leaves.
// Next() is called on the server's I/O thread and must not block.
class HttpStream {
 public:
  virtual ~HttpStream() = default;
  // What to send next, empty if nothing is there now. At most a few tens of
  // KiB: it is all that a slow client makes the server hold.
  virtual std::string Next() = 0;
  // `wake` is called, on any thread, after an empty Next() when there is more.
  virtual void SetWake(std::function<void()> wake) = 0;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::map<std::string, std::string> headers;  // Beside the fixed ones.
  std::shared_ptr<HttpStream> stream;          // Instead of a body.
};

// What the HTTP server serves. Called on the worker thread of the server;
// `respond` is called exactly once, on any thread.
class HttpFrontend {
 public:
  using Respond = std::function<void(HttpResponse)>;
  virtual ~HttpFrontend() = default;
  // Largest body this request may have; asked before the body is read.
  virtual std::size_t MaxBody(const std::string& method,
                              const std::string& path) const = 0;
  virtual void Handle(const HttpRequest& request, Respond respond) = 0;
};

struct HttpServerOptions {
  std::string address = "127.0.0.1:7080";  // Port 0: any free one.
  // 400 viewers of a stream, and people and scripts beside them.
  std::size_t max_connections = 512;
  std::size_t max_header_bytes = 16 << 10;
  Duration read_timeout{std::chrono::seconds(5)};  // Of one whole request.
  Duration write_timeout{std::chrono::seconds(30)};
  Duration idle_timeout{std::chrono::seconds(60)};  // Between requests.
  // A stream that has nothing to say sends a comment so often: a client that
  // is gone shows by it.
  Duration stream_comment{std::chrono::seconds(15)};
  TlsFiles tls;
  bool has_tokens = false;  // For the check of exposure.
  bool insecure = false;    // --insecure: beyond loopback without TLS.
};

// Boost.Beast on one I/O thread, with one worker thread for handlers, so that
// a slow query does not stop the sockets.
class HttpServer {
 public:
  // `frontend` outlives the server. UNAVAILABLE if the address cannot be
  // bound; FAILED_PRECONDITION if it would be exposed.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      const HttpServerOptions& options, HttpFrontend* frontend);
  ~HttpServer();  // Stop().

  int Port() const;
  std::string Address() const;
  // Closes all connections and waits for the threads.
  void Stop();

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace steadyrun
