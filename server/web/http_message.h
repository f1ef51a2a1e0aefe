#pragma once

// Between Beast's messages and the plain ones that handlers see.

#include <boost/beast/http.hpp>
#include <optional>
#include <string_view>
#include <variant>

#include "server/web/http_server.h"

namespace steadyrun::http_io {

namespace http = boost::beast::http;

HttpResponse Refusal(int status, std::string_view code,
                     std::string_view message);
HttpResponse BodyTooLarge();
HttpResponse TooSlow(Duration limit);  // 408

// A request without its body, or why it is refused.
std::variant<HttpRequest, HttpResponse> ConvertHeader(
    const http::request_header<>& header);

// What a client is told whose bytes cannot be read. Empty: it is gone, and is
// told nothing.
std::optional<HttpResponse> RefusalOf(const boost::system::error_code& error);

// The status line and headers of an answer, the fixed ones included, without
// length and body.
http::response<http::string_body> ConvertHeader(const HttpResponse& response);

}  // namespace steadyrun::http_io
