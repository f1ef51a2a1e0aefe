#pragma once

#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

#include "server/web/http_core.h"
#include "server/web/http_message.h"

namespace steadyrun::http_io {

// Reads one request after the other from a client's stream: the header within
// its bound, then as much body as the route takes. All of a request has one
// deadline: a byte a second does not extend it. On the I/O thread.
template <typename Stream>
class RequestReader {
 public:
  // Neither of the two: the client is gone, or too slow.
  struct Result {
    std::optional<HttpRequest> request;
    std::optional<HttpResponse> refusal;
    bool keep_alive = false;
  };
  // Called once a Read; what it captures keeps the stream alive meanwhile.
  using Done = std::function<void(Result)>;

  // All outlive it. `buffer` may hold the beginning of a request, and holds
  // what came after it.
  RequestReader(const HttpServerOptions& options, const HttpFrontend* frontend,
                Stream* stream, boost::beast::flat_buffer* buffer)
      : options_(options),
        frontend_(frontend),
        stream_(*stream),
        buffer_(*buffer) {}

  void Read(Done done) {
    parser_.emplace();
    parser_->header_limit(
        static_cast<std::uint32_t>(options_.max_header_bytes));
    parser_->body_limit(std::uint64_t{1} << 40);  // Until the route is known.
    boost::beast::get_lowest_layer(stream_).expires_after(
        options_.read_timeout);
    http::async_read_header(
        stream_, buffer_, *parser_,
        [this, done = std::move(done)](Error error, std::size_t) mutable {
          OnHeader(error, std::move(done));
        });
  }

 private:
  static void Refuse(HttpResponse refusal, const Done& done) {
    done({std::nullopt, std::move(refusal)});
  }

  void OnHeader(Error error, Done done) {
    if (error) return done({std::nullopt, RefusalOf(error)});
    auto converted = ConvertHeader(parser_->get().base());
    if (auto* refusal = std::get_if<HttpResponse>(&converted)) {
      return Refuse(std::move(*refusal), done);
    }
    request_ = std::get<HttpRequest>(std::move(converted));
    const std::size_t most = frontend_->MaxBody(request_.method, request_.path);
    parser_->body_limit(most);
    const auto length = parser_->content_length();
    if (length.has_value() && *length > most) {
      return Refuse(BodyTooLarge(), done);
    }
    if (boost::beast::iequals(parser_->get()[http::field::expect],
                              "100-continue")) {
      return Continue(std::move(done));
    }
    ReadBody(std::move(done));
  }

  void Continue(Done done) {
    static constexpr std::string_view kText = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::async_write(
        stream_, asio::buffer(kText.data(), kText.size()),
        [this, done = std::move(done)](Error error, std::size_t) mutable {
          if (error) return done({});
          ReadBody(std::move(done));
        });
  }

  void ReadBody(Done done) {
    http::async_read(
        stream_, buffer_, *parser_,
        [this, done = std::move(done)](Error error, std::size_t) {
          if (error) return done({std::nullopt, RefusalOf(error)});
          auto message = parser_->release();
          request_.body = std::move(message.body());
          done({std::move(request_), std::nullopt, message.keep_alive()});
        });
  }

  const HttpServerOptions& options_;
  const HttpFrontend* const frontend_;
  Stream& stream_;
  boost::beast::flat_buffer& buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  HttpRequest request_;
};

}  // namespace steadyrun::http_io
