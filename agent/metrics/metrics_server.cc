#include "agent/metrics/metrics_server.h"

#include <pthread.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <thread>
#include <utility>

#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

// Of one whole request, idle time before it included: a scrape comes every 15
// to 60 s, and a new connection for each costs nothing that counts.
constexpr auto kTimeout = std::chrono::seconds(5);
constexpr std::size_t kMaxHeaderBytes = 8 << 10;

using Render = std::function<std::string()>;

// One request, one answer, and the end.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, const Render* render, int* open)
      : stream_(std::move(socket)), render_(render), open_(open) {
    ++*open_;
    parser_.header_limit(kMaxHeaderBytes);
    parser_.body_limit(0);
  }
  ~Connection() { --*open_; }

  void Run() {
    stream_.expires_after(kTimeout);
    http::async_read(
        stream_, buffer_, parser_,
        [self = shared_from_this()](error_code error, std::size_t) {
          if (!error) self->Answer();
        });
  }

 private:
  void Answer() {
    const auto& request = parser_.get();
    const bool is_head = request.method() == http::verb::head;
    response_.version(11);
    response_.keep_alive(false);
    response_.set(http::field::content_type, "text/plain; charset=utf-8");
    if (request.method() != http::verb::get && !is_head) {
      response_.result(http::status::method_not_allowed);
      response_.set(http::field::allow, "GET, HEAD");
      response_.body() = "only GET is served here\n";
    } else if (request.target() != "/metrics") {
      response_.result(http::status::not_found);
      response_.body() = "only /metrics is served here\n";
    } else {
      response_.set(http::field::content_type,
                    "text/plain; version=0.0.4; charset=utf-8");
      response_.body() = (*render_)();
    }
    response_.prepare_payload();
    if (is_head) response_.body().clear();
    http::async_write(stream_, response_,
                      [self = shared_from_this()](error_code, std::size_t) {
                        error_code ignored;
                        self->stream_.socket().shutdown(
                            tcp::socket::shutdown_send, ignored);
                      });
  }

  beast::tcp_stream stream_;
  beast::flat_buffer buffer_{kMaxHeaderBytes};
  http::request_parser<http::empty_body> parser_;
  http::response<http::string_body> response_;
  const Render* const render_;
  int* const open_;
};

absl::StatusOr<tcp::endpoint> ParseAddress(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  std::uint16_t port = 0;
  error_code error;
  if (colon != std::string::npos) {
    const char* const last = address.data() + address.size();
    const auto [end, bad] =
        std::from_chars(address.data() + colon + 1, last, port);
    const auto host = asio::ip::make_address(address.substr(0, colon), error);
    if (end == last && bad == std::errc{} && !error) return {{host, port}};
  }
  return absl::InvalidArgumentError(fmt::format(
      "metrics address '{}' is not an IP address and a port, such as "
      "127.0.0.1:7081",
      address));
}

}  // namespace

class MetricsServer::Impl {
 public:
  explicit Impl(Render render) : render_(std::move(render)) {}
  ~Impl() {
    context_.stop();
    if (thread_.joinable()) thread_.join();
  }

  absl::Status Bind(const std::string& address) {
    auto endpoint = ParseAddress(address);
    if (!endpoint.ok()) return endpoint.status();
    error_code error;
    acceptor_.open(endpoint->protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(*endpoint, error);
    if (!error) acceptor_.listen(kMaxConnections, error);
    if (!error) return absl::OkStatus();
    return absl::UnavailableError(
        fmt::format("cannot serve metrics at {}: {}; choose another address "
                    "with --metrics-listen",
                    address, error.message()));
  }

  void Run() {
    Accept();
    thread_ = std::thread([this] { context_.run(); });
    pthread_setname_np(thread_.native_handle(), "sr-metrics");
  }

  tcp::endpoint Endpoint() const {
    error_code ignored;
    return acceptor_.local_endpoint(ignored);
  }

 private:
  void Accept() {
    acceptor_.async_accept([this](error_code error, tcp::socket socket) {
      if (!error && open_ < kMaxConnections) {
        std::make_shared<Connection>(std::move(socket), &render_, &open_)
            ->Run();
      }
      if (!error) return Accept();
      // Out of descriptors: not a reason to spin.
      retry_.expires_after(std::chrono::seconds(1));
      retry_.async_wait([this](error_code) { Accept(); });
    });
  }

  const Render render_;
  int open_ = 0;  // The thread's; outlives the connections in context_.
  asio::io_context context_{1};
  tcp::acceptor acceptor_{context_};
  asio::steady_timer retry_{context_};
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(
    const std::string& address, std::function<std::string()> render) {
  auto impl = std::make_unique<Impl>(std::move(render));
  if (absl::Status status = impl->Bind(address); !status.ok()) return status;
  impl->Run();
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(impl)));
}

MetricsServer::MetricsServer(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)) {}
MetricsServer::~MetricsServer() = default;

int MetricsServer::Port() const { return impl_->Endpoint().port(); }
std::string MetricsServer::Host() const {
  return impl_->Endpoint().address().to_string();
}

}  // namespace steadyrun::agent
