// The one heavy translation unit of HTTP: nothing else includes Boost.

#include "server/web/http_server.h"

#include <pthread.h>

#include <atomic>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <list>
#include <map>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/synchronization/mutex.h"
#include "base/bounded_queue.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "server/rpc/credentials.h"
#include "server/web/http_target.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using Tcp = asio::ip::tcp;
using Error = boost::system::error_code;

class Connection;

// What connections share; on the I/O thread, unless said otherwise.
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

HttpResponse PlainError(int status, std::string_view code,
                        std::string_view message) {
  HttpResponse response;
  response.status = status;
  response.content_type = "application/json";
  response.body =
      fmt::format("{{\"code\":\"{}\",\"message\":\"{}\"}}\n", code, message);
  return response;
}

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

using PlainStream = beast::tcp_stream;
using TlsStream = beast::ssl_stream<beast::tcp_stream>;

// Reads a request, hands it over, writes the answer, and again.
template <typename Stream>
class HttpConnection final : public Connection {
 public:
  template <typename... Args>
  explicit HttpConnection(std::shared_ptr<Core> core, Args&&... args)
      : Connection(std::move(core)),
        stream_(std::forward<Args>(args)...),
        pause_(tcp().get_executor()),
        buffer_(core_->options.max_header_bytes + kReadBytes) {}

  void Start() override {
    Register();
    if constexpr (std::is_same_v<Stream, TlsStream>) {
      tcp().expires_after(core_->options.read_timeout);
      stream_.async_handshake(
          ssl::stream_base::server, [self = Self()](Error error) {
            if (error) return self->Close();
            self->WaitForRequest(self->core_->options.read_timeout);
          });
    } else {
      WaitForRequest(core_->options.read_timeout);
    }
  }
  void Close() override {
    LeaveIdle();
    source_.reset();
    pause_.cancel();
    Error ignored;
    tcp().socket().shutdown(Tcp::socket::shutdown_both, ignored);
    tcp().close();
  }

 private:
  static constexpr std::size_t kReadBytes = 8192;

  beast::tcp_stream& tcp() { return beast::get_lowest_layer(stream_); }
  std::shared_ptr<HttpConnection> Self() {
    return std::static_pointer_cast<HttpConnection>(shared_from_this());
  }

  // Until the first byte, the connection may be given up for a newer one.
  void WaitForRequest(Duration timeout) {
    if (buffer_.size() > 0) return ReadHeader();
    EnterIdle();
    tcp().expires_after(timeout);
    stream_.async_read_some(buffer_.prepare(kReadBytes),
                            [self = Self()](Error error, std::size_t bytes) {
                              self->LeaveIdle();
                              if (error) return;
                              self->buffer_.commit(bytes);
                              self->ReadHeader();
                            });
  }

  // One deadline for all of a request: a byte a second does not extend it.
  void ReadHeader() {
    parser_.emplace();
    parser_->header_limit(
        static_cast<std::uint32_t>(core_->options.max_header_bytes));
    parser_->body_limit(std::uint64_t{1} << 40);  // Until the route is known.
    tcp().expires_after(core_->options.read_timeout);
    http::async_read_header(
        stream_, buffer_, *parser_,
        [self = Self()](Error error, std::size_t) { self->OnHeader(error); });
  }

  void OnHeader(Error error) {
    if (error) return OnReadError(error);
    const auto& header = parser_->get();
    const auto target = ParseTarget(
        std::string_view(header.target().data(), header.target().size()));
    if (!target.has_value() || header.count(http::field::host) != 1) {
      return Refuse(PlainError(400, "invalid_argument",
                               "the request target or Host is malformed"));
    }
    if (header.count(http::field::range) != 0) {
      return Refuse(PlainError(416, "out_of_range", "ranges are not served"));
    }
    request_ = HttpRequest();
    request_.method = std::string(header.method_string());
    request_.path = target->path;
    request_.query = target->query;
    for (const auto& field : header) {
      request_.headers.emplace(
          absl::AsciiStrToLower(std::string(field.name_string())),
          std::string(field.value()));
    }
    const std::size_t most =
        core_->frontend->MaxBody(request_.method, request_.path);
    parser_->body_limit(most);
    const auto length = parser_->content_length();
    if (length.has_value() && *length > most) {
      return Refuse(PlainError(413, "resource_exhausted",
                               "the body is larger than allowed here"));
    }
    if (beast::iequals(header[http::field::expect], "100-continue")) {
      return Continue();
    }
    ReadBody();
  }

  void Continue() {
    static constexpr std::string_view kText = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::async_write(stream_, asio::buffer(kText.data(), kText.size()),
                      [self = Self()](Error error, std::size_t) {
                        if (!error) self->ReadBody();
                      });
  }

  void ReadBody() {
    http::async_read(
        stream_, buffer_, *parser_,
        [self = Self()](Error error, std::size_t) { self->OnRequest(error); });
  }

  void OnRequest(Error error) {
    if (error) return OnReadError(error);
    auto message = parser_->release();
    keep_alive_ = message.keep_alive();
    is_head_ = message.method() == http::verb::head;
    request_.body = std::move(message.body());
    tcp().expires_never();
    auto job = [self = Self()] { self->Handle(); };
    if (!core_->jobs.TryPush(std::move(job))) {
      Refuse(PlainError(503, "unavailable", "too many requests wait"));
    }
  }

  // On the worker thread.
  void Handle() {
    core_->frontend->Handle(request_, [self = Self()](HttpResponse response) {
      if (self->core_->stopped) return;
      asio::post(self->core_->io,
                 [self, response = std::move(response)]() mutable {
                   self->Write(std::move(response));
                 });
    });
  }

  void OnReadError(Error error) {
    if (error == http::error::header_limit ||
        error == http::error::buffer_overflow) {
      return Refuse(PlainError(431, "resource_exhausted",
                               "the request line and headers are too large"));
    }
    if (error == http::error::body_limit) {
      return Refuse(PlainError(413, "resource_exhausted",
                               "the body is larger than allowed here"));
    }
    const bool is_protocol_error =
        error.category() ==
        http::make_error_code(http::error::bad_version).category();
    if (!is_protocol_error || error == http::error::end_of_stream) {
      return Close();  // Gone, or too slow.
    }
    Refuse(PlainError(400, "invalid_argument", "this is not HTTP/1.1"));
  }

  // Answers, then closes: what follows on the wire cannot be trusted.
  void Refuse(HttpResponse response) {
    keep_alive_ = false;
    is_head_ = false;
    Write(std::move(response));
  }

  void Write(HttpResponse response) {
    response_ = {};
    response_.version(11);
    response_.result(static_cast<unsigned>(response.status));
    response_.set(http::field::content_type, response.content_type);
    // Nothing from elsewhere, nothing inline, never in a frame.
    response_.set("content-security-policy",
                  "default-src 'none'; script-src 'self'; style-src 'self'; "
                  "img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
                  "form-action 'self'; frame-ancestors 'none'");
    response_.set("x-content-type-options", "nosniff");
    response_.set("referrer-policy", "no-referrer");
    response_.set("cross-origin-opener-policy", "same-origin");
    response_.set("cross-origin-resource-policy", "same-origin");
    response_.set(http::field::cache_control, "no-store");
    for (const auto& [name, value] : response.headers) {
      response_.set(name, value);
    }
    if (response.stream != nullptr && !is_head_) {
      source_ = std::move(response.stream);
      return WriteStreamHeader();
    }
    response_.keep_alive(keep_alive_);
    response_.content_length(response.body.size());
    if (!is_head_) response_.body() = std::move(response.body);
    tcp().expires_after(core_->options.write_timeout);
    serializer_.emplace(response_);
    const auto done = [self = Self()](Error error, std::size_t) {
      self->OnWritten(error);
    };
    if (is_head_) {
      http::async_write_header(stream_, *serializer_, done);
    } else {
      http::async_write(stream_, *serializer_, done);
    }
  }

  // The end of the body is the end of the connection.
  void WriteStreamHeader() {
    keep_alive_ = false;
    response_.keep_alive(false);
    tcp().expires_after(core_->options.write_timeout);
    serializer_.emplace(response_);
    source_->SetWake([weak = std::weak_ptr<HttpConnection>(Self())] {
      const auto self = weak.lock();
      if (self == nullptr || self->core_->stopped) return;
      asio::post(self->core_->io, [self] { self->pause_.cancel(); });
    });
    http::async_write_header(stream_, *serializer_,
                             [self = Self()](Error error, std::size_t) {
                               if (error || self->source_ == nullptr)
                                 return self->Close();
                               self->WatchForEnd();
                               self->SendNext();
                             });
  }
  // Whatever the client sends now is its goodbye.
  void WatchForEnd() {
    tcp().expires_never();
    buffer_.consume(buffer_.size());
    stream_.async_read_some(
        buffer_.prepare(1),
        [self = Self()](Error, std::size_t) { self->Close(); });
  }
  void SendNext() {
    if (source_ == nullptr) return;
    piece_ = source_->Next();
    if (piece_.empty()) {
      pause_.expires_after(core_->options.stream_comment);
      pause_.async_wait([self = Self()](Error error) {
        if (self->source_ == nullptr) return;
        if (error) return self->SendNext();  // Woken.
        self->piece_ = ": still here\n\n";
        self->SendPiece();
      });
      return;
    }
    SendPiece();
  }
  // A client that does not read in time is cut; meanwhile it holds one piece.
  void SendPiece() {
    tcp().expires_after(core_->options.write_timeout);
    asio::async_write(stream_, asio::buffer(piece_),
                      [self = Self()](Error error, std::size_t) {
                        if (error) return self->Close();
                        self->SendNext();
                      });
  }

  void OnWritten(Error error) {
    serializer_.reset();
    response_ = {};
    if (error || !keep_alive_ || !core_->acceptor.is_open()) {
      return FinishWriting();
    }
    WaitForRequest(core_->options.idle_timeout);
  }

  // Says "no more" and lets the peer read what was sent: a close while its
  // bytes are unread would throw the answer away.
  void FinishWriting() {
    tcp().expires_after(std::chrono::seconds(2));
    if constexpr (std::is_same_v<Stream, TlsStream>) {
      stream_.async_shutdown([self = Self()](Error) { self->Close(); });
    } else {
      Error ignored;
      tcp().socket().shutdown(Tcp::socket::shutdown_send, ignored);
      Drain(0);
    }
  }
  void Drain(std::size_t drained) {
    constexpr std::size_t kMaxDrained = 1 << 20;
    if (drained > kMaxDrained) return Close();
    buffer_.consume(buffer_.size());
    stream_.async_read_some(
        buffer_.prepare(kReadBytes),
        [self = Self(), drained](Error error, std::size_t bytes) {
          if (error) return self->Close();
          self->Drain(drained + bytes);
        });
  }

  Stream stream_;
  asio::steady_timer pause_;  // Until there is more to stream.
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  HttpRequest request_;
  http::response<http::string_body> response_;
  std::optional<http::response_serializer<http::string_body>> serializer_;
  std::shared_ptr<HttpStream> source_;
  std::string piece_;
  bool keep_alive_ = false;
  bool is_head_ = false;
};

void AcceptNext(const std::shared_ptr<Core>& core);

std::shared_ptr<Connection> NewConnection(const std::shared_ptr<Core>& core,
                                          Tcp::socket socket) {
  if (core->tls.has_value()) {
    return std::make_shared<HttpConnection<TlsStream>>(core, std::move(socket),
                                                       *core->tls);
  }
  return std::make_shared<HttpConnection<PlainStream>>(core, std::move(socket));
}

void OnAccept(const std::shared_ptr<Core>& core, Error error,
              Tcp::socket socket) {
  if (!core->acceptor.is_open()) return;
  if (error) {
    // Out of descriptors, mostly: trying at once again would only burn CPU.
    core->retry.expires_after(std::chrono::milliseconds(100));
    core->retry.async_wait([core](Error) { AcceptNext(core); });
    return;
  }
  if (core->Count() >= core->options.max_connections && !core->idle.empty()) {
    core->idle.front()->Close();  // Its socket goes with its pending read.
  } else if (core->Count() >= core->options.max_connections) {
    static constexpr std::string_view kBusy =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n"
        "Content-Length: 0\r\nConnection: close\r\n\r\n";
    Error ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(kBusy.data(), kBusy.size()), ignored);
    socket.shutdown(Tcp::socket::shutdown_both, ignored);
    return AcceptNext(core);
  }
  NewConnection(core, std::move(socket))->Start();
  AcceptNext(core);
}

void AcceptNext(const std::shared_ptr<Core>& core) {
  if (!core->acceptor.is_open()) return;
  core->acceptor.async_accept([core](Error error, Tcp::socket socket) {
    OnAccept(core, error, std::move(socket));
  });
}

absl::Status LoadTls(const TlsFiles& files, Core* core) {
  if (!files.IsEnabled()) return absl::OkStatus();
  ssl::context& tls = core->tls.emplace(ssl::context::tls_server);
  Error error;
  const auto failed = [&](std::string_view what, const std::string& path) {
    return absl::InvalidArgumentError(
        fmt::format("HTTP {}: '{}': {}", what, path, error.message()));
  };
  tls.set_options(ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1, error);
  tls.use_certificate_chain_file(files.certificate, error);
  if (error) return failed("TLS certificate", files.certificate);
  tls.use_private_key_file(files.key, ssl::context::pem, error);
  if (error) return failed("TLS key", files.key);
  if (files.client_ca.empty()) return absl::OkStatus();
  tls.load_verify_file(files.client_ca, error);
  if (error) return failed("TLS client CA", files.client_ca);
  tls.set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert,
                      error);
  return absl::OkStatus();
}

absl::Status Listen(Core* core) {
  ASSIGN_OR_RETURN(const HostPort where, ParseHostPort(core->options.address));
  Error error;
  Tcp::resolver resolver(core->io);
  const auto found = resolver.resolve(where.host, std::to_string(where.port),
                                      Tcp::resolver::passive, error);
  if (!error && !found.empty()) {
    const Tcp::endpoint endpoint = *found.begin();
    core->acceptor.open(endpoint.protocol(), error);
    if (!error) {
      core->acceptor.set_option(Tcp::acceptor::reuse_address(true), error);
    }
    if (!error) core->acceptor.bind(endpoint, error);
    if (!error) core->acceptor.listen(512, error);
  }
  if (!error) return absl::OkStatus();
  return absl::UnavailableError(fmt::format(
      "cannot listen on HTTP address '{}': {}. Choose another address, or end "
      "the program that has it",
      core->options.address, error.message()));
}

}  // namespace

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
    asio::post(core->io, [core = core] { CloseAll(core.get()); });
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
