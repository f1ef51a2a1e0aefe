#include "server/web/request_guard.h"

#include <arpa/inet.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "server/rpc/credentials.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

// "node-1:7080", "[::1]", "127.0.0.1" without the port and the brackets.
std::string HostName(std::string_view header) {
  if (!header.empty() && header.front() == '[') {
    const std::size_t end = header.find(']');
    return std::string(
        header.substr(1, end == std::string_view::npos ? end : end - 1));
  }
  return absl::AsciiStrToLower(std::string(header.substr(0, header.find(':'))));
}

bool IsIpAddress(const std::string& host) {
  in6_addr address{};
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

}  // namespace

absl::Status CheckHost(const HttpRequest& request,
                       const std::vector<std::string>& allowed) {
  const std::string host = HostName(request.Header("host"));
  if (host == "localhost" || IsIpAddress(host)) return absl::OkStatus();
  if (std::find(allowed.begin(), allowed.end(), host) != allowed.end()) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(
      "the Host header names no host this server is known by: use its IP "
      "address, or add the name to http.allowed_hosts");
}

absl::Status CheckAction(const HttpRequest& request) {
  std::string_view type = request.Header("content-type");
  type = type.substr(0, type.find(';'));
  while (!type.empty() && type.back() == ' ') type.remove_suffix(1);
  if (absl::AsciiStrToLower(std::string(type)) != "application/json") {
    return absl::InvalidArgumentError(
        "Content-Type: expected application/json");
  }
  if (request.Header("x-steadyrun-request") != "1") {
    return absl::PermissionDeniedError(
        "the header 'X-Steadyrun-Request: 1' is missing");
  }
  const std::string_view site = request.Header("sec-fetch-site");
  if (!site.empty() && site != "same-origin" && site != "none") {
    return absl::PermissionDeniedError("sent by a page of another site");
  }
  const std::string_view origin = request.Header("origin");
  if (origin.empty()) return absl::OkStatus();
  const std::size_t scheme = origin.find("://");
  if (scheme == std::string_view::npos ||
      origin.substr(scheme + 3) != request.Header("host")) {
    return absl::PermissionDeniedError("Origin and Host differ");
  }
  return absl::OkStatus();
}

absl::Status CheckMachine(const HttpRequest& request) {
  if (!request.Header("origin").empty() ||
      !request.Header("sec-fetch-site").empty()) {
    return absl::PermissionDeniedError("this is for Alertmanager, no page");
  }
  if (!request.Header("content-type").starts_with("application/json")) {
    return absl::InvalidArgumentError(
        "Content-Type: expected application/json");
  }
  return absl::OkStatus();
}

}  // namespace steadyrun
