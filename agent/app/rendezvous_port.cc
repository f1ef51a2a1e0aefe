#include "agent/app/rendezvous_port.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

using AddressList = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

AddressList Resolve(const std::string& host, const std::string& port,
                    int type) {
  addrinfo hints{};
  hints.ai_socktype = type;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), port.empty() ? nullptr : port.c_str(), &hints,
                    &found) != 0) {
    found = nullptr;
  }
  return {found, &::freeaddrinfo};
}

std::pair<std::string, std::string> Split(const std::string& host_port) {
  const std::size_t colon = host_port.rfind(':');
  if (colon == std::string::npos) return {host_port, ""};
  std::string host = host_port.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') {
    host = host.substr(1, host.size() - 2);
  }
  return {std::move(host), host_port.substr(colon + 1)};
}

std::int32_t PortOf(const sockaddr_storage& address) {
  return address.ss_family == AF_INET6
             ? ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port)
             : ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

}  // namespace

RendezvousPort::RendezvousPort(std::string address)
    : address_(std::move(address)) {}

RendezvousPort::~RendezvousPort() { Release(); }

void RendezvousPort::Release() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  port_ = 0;
}

absl::Status RendezvousPort::Hold() {
  if (fd_ >= 0) return absl::OkStatus();
  const AddressList addresses = Resolve(address_, "", SOCK_STREAM);
  int error = EADDRNOTAVAIL;
  for (const addrinfo* one = addresses.get(); one != nullptr;
       one = one->ai_next) {
    const int fd = ::socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int yes = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    if (fd >= 0 && ::bind(fd, one->ai_addr, one->ai_addrlen) == 0 &&
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) == 0) {
      fd_ = fd;
      port_ = PortOf(bound);
      return absl::OkStatus();
    }
    error = errno;
    if (fd >= 0) ::close(fd);
  }
  return absl::UnavailableError(fmt::format(
      "cannot hold a port on address '{}': {}; set agent.address to an address "
      "of this machine at which its peers reach it",
      address_, ::strerrordesc_np(error)));
}

std::string LocalAddressTowards(const std::string& server) {
  const auto [host, port] = Split(server);
  const AddressList addresses = Resolve(host, port, SOCK_DGRAM);
  for (const addrinfo* one = addresses.get(); one != nullptr;
       one = one->ai_next) {
    const int fd = ::socket(one->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_storage local{};
    socklen_t size = sizeof local;
    char text[NI_MAXHOST] = "";
    // A datagram socket sends nothing on connect; the kernel picks a route.
    const bool is_found =
        fd >= 0 && ::connect(fd, one->ai_addr, one->ai_addrlen) == 0 &&
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size) == 0 &&
        ::getnameinfo(reinterpret_cast<sockaddr*>(&local), size, text,
                      sizeof text, nullptr, 0, NI_NUMERICHOST) == 0;
    if (fd >= 0) ::close(fd);
    if (is_found) return text;
  }
  return "";
}

bool IsLoopback(const std::string& host_port) {
  const std::string host = Split(host_port).first;
  if (host == "localhost" || host == "::1") return true;
  in_addr address{};
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1 &&
         (ntohl(address.s_addr) >> 24) == 127;
}

}  // namespace steadyrun::agent
