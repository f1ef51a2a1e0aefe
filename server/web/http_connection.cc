#include "server/web/http_connection.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/post.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <optional>
#include <type_traits>
#include <utility>

#include "server/web/http_message.h"
#include "server/web/http_request_reader.h"
#include "server/web/http_stream_writer.h"

namespace steadyrun::http_io {
namespace {

namespace beast = boost::beast;

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
        buffer_(core_->options.max_header_bytes + kReadBytes),
        reader_(core_->options, core_->frontend, &stream_, &buffer_),
        streamer_(core_.get(), &stream_) {}

  void Start() override {
    Register();
    BoundSilence();
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
    streamer_.Stop();
    Error ignored;
    tcp().socket().shutdown(Tcp::socket::shutdown_both, ignored);
    tcp().close();
  }

 private:
  static constexpr std::size_t kReadBytes = 8192;
  using Reader = RequestReader<Stream>;

  beast::tcp_stream& tcp() { return beast::get_lowest_layer(stream_); }
  std::shared_ptr<HttpConnection> Self() {
    return std::static_pointer_cast<HttpConnection>(shared_from_this());
  }

  // A machine that is gone confirms nothing: the kernel ends the connection,
  // which the timeout of a write cannot, while the socket's buffer has room.
  void BoundSilence() {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(
        core_->options.write_timeout);
    const auto value = static_cast<unsigned>(ms.count());
    ::setsockopt(tcp().socket().native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT,
                 &value, sizeof(value));
  }

  // Until the first byte, the connection may be given up for a newer one.
  void WaitForRequest(Duration timeout) {
    if (buffer_.size() > 0) return ReadRequest();
    EnterIdle();
    tcp().expires_after(timeout);
    stream_.async_read_some(buffer_.prepare(kReadBytes),
                            [self = Self()](Error error, std::size_t bytes) {
                              self->LeaveIdle();
                              if (error) return;
                              self->buffer_.commit(bytes);
                              self->ReadRequest();
                            });
  }

  void ReadRequest() {
    auto self = Self();
    reader_.Read(self, [self](typename Reader::Result read) {
      self->OnRequest(std::move(read));
    });
  }

  void OnRequest(typename Reader::Result read) {
    if (read.refusal.has_value()) return Refuse(*std::move(read.refusal));
    if (!read.request.has_value()) return Close();
    request_ = *std::move(read.request);
    Error unknown;
    request_.peer =
        tcp().socket().remote_endpoint(unknown).address().to_string();
    keep_alive_ = read.keep_alive;
    is_head_ = request_.method == "HEAD";
    tcp().expires_never();
    auto job = [self = Self()] { self->Handle(); };
    if (!core_->jobs.TryPush(std::move(job))) {
      Refuse(Refusal(503, "unavailable", "too many requests wait"));
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

  // Answers, then closes: what follows on the wire cannot be trusted.
  void Refuse(HttpResponse response) {
    keep_alive_ = false;
    is_head_ = false;
    Write(std::move(response));
  }

  void Write(HttpResponse response) {
    response_ = ConvertHeader(response);
    tcp().expires_after(core_->options.write_timeout);
    if (response.stream != nullptr && !is_head_) {
      return WriteStream(std::move(response.stream));
    }
    response_.keep_alive(keep_alive_);
    response_.content_length(response.body.size());
    if (!is_head_) response_.body() = std::move(response.body);
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
  void WriteStream(std::shared_ptr<HttpStream> source) {
    response_.keep_alive(false);
    serializer_.emplace(response_);
    http::async_write_header(stream_, *serializer_,
                             [self = Self(), source = std::move(source)](
                                 Error error, std::size_t) mutable {
                               if (error || !self->tcp().socket().is_open())
                                 return self->Close();
                               self->streamer_.Start(std::move(source), self);
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
  beast::flat_buffer buffer_;
  Reader reader_;
  HttpRequest request_;
  http::response<http::string_body> response_;
  std::optional<http::response_serializer<http::string_body>> serializer_;
  StreamWriter<Stream> streamer_;
  bool keep_alive_ = false;
  bool is_head_ = false;
};

}  // namespace

std::shared_ptr<Connection> NewConnection(const std::shared_ptr<Core>& core,
                                          Tcp::socket socket) {
  if (core->tls.has_value()) {
    return std::make_shared<HttpConnection<TlsStream>>(core, std::move(socket),
                                                       *core->tls);
  }
  return std::make_shared<HttpConnection<PlainStream>>(core, std::move(socket));
}

}  // namespace steadyrun::http_io
