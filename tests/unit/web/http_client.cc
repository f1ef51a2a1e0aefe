#include "tests/unit/web/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/ascii.h"
#include "base/check.h"

namespace steadyrun {

HttpClient::HttpClient(int port) {
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  SR_CHECK(fd_ >= 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  SR_CHECK(::connect(fd_, reinterpret_cast<sockaddr*>(&address),
                     sizeof(address)) == 0);
}

HttpClient::~HttpClient() { ::close(fd_); }

bool HttpClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

bool HttpClient::Fill(double seconds) {
  pollfd waiting{fd_, POLLIN, 0};
  if (::poll(&waiting, 1, static_cast<int>(seconds * 1000)) <= 0) return false;
  char bytes[8192];
  const ssize_t n = ::recv(fd_, bytes, sizeof(bytes), 0);
  if (n <= 0) return false;
  buffer_.append(bytes, static_cast<std::size_t>(n));
  return true;
}

std::string HttpClient::ReadAll(double seconds) {
  while (Fill(seconds)) {
  }
  return std::move(buffer_);
}

HttpClient::Response HttpClient::Read(bool is_head) {
  std::size_t end = 0;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!Fill(20)) return {};
  }
  Response response;
  response.status = std::atoi(buffer_.c_str() + 9);
  std::size_t at = buffer_.find("\r\n") + 2;
  while (at < end + 2) {
    const std::size_t line_end = buffer_.find("\r\n", at);
    const std::string line = buffer_.substr(at, line_end - at);
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) {
      response.headers[absl::AsciiStrToLower(line.substr(0, colon))] =
          line.substr(colon + 2);
    }
    at = line_end + 2;
  }
  buffer_.erase(0, end + 4);
  if (response.status == 100) return Read(is_head);
  std::size_t length = 0;
  if (!is_head && response.headers.count("content-length") != 0) {
    length = std::stoul(response.headers["content-length"]);
  }
  while (buffer_.size() < length) {
    if (!Fill(20)) return {};
  }
  response.body = buffer_.substr(0, length);
  buffer_.erase(0, length);
  return response;
}

bool HttpClient::IsClosedWithin(double seconds) {
  pollfd waiting{fd_, POLLIN, 0};
  if (::poll(&waiting, 1, static_cast<int>(seconds * 1000)) <= 0) return false;
  char byte;
  return ::recv(fd_, &byte, 1, 0) <= 0;
}

HttpClient::Response Get(int port, const std::string& target,
                         const std::string& headers) {
  HttpClient client(port);
  client.Send("GET " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" + headers +
              "\r\n");
  return client.Read();
}

HttpClient::Response Post(int port, const std::string& target,
                          const std::string& body, const std::string& headers) {
  HttpClient client(port);
  client.Send("POST " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" +
              "Content-Length: " + std::to_string(body.size()) + "\r\n" +
              headers + "\r\n" + body);
  return client.Read();
}

}  // namespace steadyrun
