#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

#include "server/web/http_core.h"
#include "server/web/http_message.h"

namespace steadyrun::http_io {

// Reads one request after the other from a client's stream: the header within
// its bound, then as much body as the route takes. All of a request has one
// deadline: a byte a second does not extend it. The deadline is a timer of its
// own, since that of Beast closes the socket, and the client is to be told why.
// On the I/O thread.
template <typename Stream>
class RequestReader {
 public:
  // Neither of the two: the client is gone.
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
        buffer_(*buffer),
        deadline_(stream->get_executor()) {}

  // `owner` holds this, and is held until the end of the request.
  void Read(const std::shared_ptr<Connection>& owner, Done done) {
    parser_.emplace();
    parser_->header_limit(
        static_cast<std::uint32_t>(options_.max_header_bytes));
    parser_->body_limit(std::uint64_t{1} << 40);  // Until the route is known.
    tcp().expires_never();
    StartDeadline(owner);
    http::async_read_header(
        stream_, buffer_, *parser_,
        [this, done = std::move(done)](Error error, std::size_t) mutable {
          OnHeader(error, std::move(done));
        });
  }

 private:
  boost::beast::tcp_stream& tcp() {
    return boost::beast::get_lowest_layer(stream_);
  }

  void StartDeadline(const std::shared_ptr<Connection>& owner) {
    is_late_ = false;
    deadline_.expires_after(options_.read_timeout);
    // It may have fired, and wait to be called, when the request ends.
    deadline_.async_wait([this, owner, turn = turn_](Error error) {
      if (error || turn != turn_) return;
      is_late_ = true;
      tcp().cancel();
    });
  }

  void Finish(Result result, const Done& done) {
    ++turn_;
    deadline_.cancel();
    done(std::move(result));
  }
  void Refuse(HttpResponse refusal, const Done& done) {
    Finish({std::nullopt, std::move(refusal)}, done);
  }
  void Fail(Error error, const Done& done) {
    if (is_late_) return Refuse(TooSlow(options_.read_timeout), done);
    Finish({std::nullopt, RefusalOf(error)}, done);
  }

  void OnHeader(Error error, Done done) {
    if (error) return Fail(error, done);
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
          if (error) return Fail(error, done);
          ReadBody(std::move(done));
        });
  }

  void ReadBody(Done done) {
    http::async_read(
        stream_, buffer_, *parser_,
        [this, done = std::move(done)](Error error, std::size_t) {
          if (error) return Fail(error, done);
          auto message = parser_->release();
          request_.body = std::move(message.body());
          Finish({std::move(request_), std::nullopt, message.keep_alive()},
                 done);
        });
  }

  const HttpServerOptions& options_;
  const HttpFrontend* const frontend_;
  Stream& stream_;
  boost::beast::flat_buffer& buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  HttpRequest request_;
  asio::steady_timer deadline_;
  std::uint64_t turn_ = 0;  // Requests that have ended.
  bool is_late_ = false;
};

}  // namespace steadyrun::http_io
