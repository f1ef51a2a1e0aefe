#include "server/web/http_message.h"

#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "server/web/http_target.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::http_io {

HttpResponse Refusal(int status, std::string_view code,
                     std::string_view message) {
  HttpResponse response;
  response.status = status;
  response.content_type = "application/json";
  response.body =
      fmt::format("{{\"code\":\"{}\",\"message\":\"{}\"}}\n", code, message);
  return response;
}

HttpResponse BodyTooLarge() {
  return Refusal(413, "resource_exhausted",
                 "the body is larger than allowed here");
}

HttpResponse TooSlow(Duration limit) {
  return Refusal(408, "deadline_exceeded",
                 fmt::format("the request had not arrived after {:g} s",
                             ToSeconds(limit)));
}

std::variant<HttpRequest, HttpResponse> ConvertHeader(
    const http::request_header<>& header) {
  auto target = ParseTarget(
      std::string_view(header.target().data(), header.target().size()));
  if (!target.has_value() || header.count(http::field::host) != 1) {
    return Refusal(400, "invalid_argument",
                   "the request target or Host is malformed");
  }
  if (header.count(http::field::range) != 0) {
    return Refusal(416, "out_of_range", "ranges are not served");
  }
  HttpRequest request;
  request.method = std::string(header.method_string());
  request.path = std::move(target->path);
  request.query = std::move(target->query);
  for (const auto& field : header) {
    request.headers.emplace(
        absl::AsciiStrToLower(std::string(field.name_string())),
        std::string(field.value()));
  }
  return request;
}

std::optional<HttpResponse> RefusalOf(const boost::system::error_code& error) {
  if (error == http::error::header_limit ||
      error == http::error::buffer_overflow) {
    return Refusal(431, "resource_exhausted",
                   "the request line and headers are too large");
  }
  if (error == http::error::body_limit) return BodyTooLarge();
  const bool is_protocol_error =
      error.category() ==
      http::make_error_code(http::error::bad_version).category();
  if (!is_protocol_error || error == http::error::end_of_stream) {
    return std::nullopt;
  }
  return Refusal(400, "invalid_argument", "this is not HTTP/1.1");
}

http::response<http::string_body> ConvertHeader(const HttpResponse& response) {
  http::response<http::string_body> message;
  message.version(11);
  message.result(static_cast<unsigned>(response.status));
  message.set(http::field::content_type, response.content_type);
  // Nothing from elsewhere, nothing inline, never in a frame.
  message.set("content-security-policy",
              "default-src 'none'; script-src 'self'; style-src 'self'; "
              "img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
              "form-action 'self'; frame-ancestors 'none'");
  message.set("x-content-type-options", "nosniff");
  message.set("referrer-policy", "no-referrer");
  message.set("cross-origin-opener-policy", "same-origin");
  message.set("cross-origin-resource-policy", "same-origin");
  message.set(http::field::cache_control, "no-store");
  for (const auto& [name, value] : response.headers) message.set(name, value);
  return message;
}

}  // namespace steadyrun::http_io
