#include "server/web/http_listener.h"

#include <string>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "server/rpc/credentials.h"
#include "server/web/http_connection.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::http_io {
namespace {

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
        "Content-Type: application/json\r\nContent-Length: 78\r\n"
        "Connection: close\r\n\r\n"
        "{\"code\":\"unavailable\",\"message\":"
        "\"all connections are busy: try again in 5 s\"}\n";
    Error ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(kBusy.data(), kBusy.size()), ignored);
    socket.shutdown(Tcp::socket::shutdown_both, ignored);
    return AcceptNext(core);
  }
  NewConnection(core, std::move(socket))->Start();
  AcceptNext(core);
}

}  // namespace

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

}  // namespace steadyrun::http_io
