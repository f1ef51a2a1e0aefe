#pragma once

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <memory>
#include <string>
#include <utility>

#include "server/web/http_core.h"

namespace steadyrun::http_io {

// Sends a stream without an end, piece by piece, until the client or the
// server leaves; then closes the connection. A client that does not read in
// time is cut; meanwhile it holds one piece. On the I/O thread.
template <typename Stream>
class StreamWriter {
 public:
  // Both outlive it.
  StreamWriter(Core* core, Stream* stream)
      : core_(*core), stream_(*stream), pause_(core->io) {}

  // `owner` holds this and is held while the stream lasts. The answer's header
  // has gone out.
  void Start(std::shared_ptr<HttpStream> source,
             const std::shared_ptr<Connection>& owner) {
    source_ = std::move(source);
    source_->SetWake([this, weak = std::weak_ptr<Connection>(owner)] {
      auto self = weak.lock();
      if (self == nullptr || core_.stopped) return;
      asio::post(core_.io, [this, self = std::move(self)] { pause_.cancel(); });
    });
    WatchForEnd(owner);
    SendNext(owner);
  }

  // Its owner closes.
  void Stop() {
    source_.reset();
    pause_.cancel();
  }

 private:
  boost::beast::tcp_stream& tcp() {
    return boost::beast::get_lowest_layer(stream_);
  }

  // Whatever the client sends now is its goodbye.
  void WatchForEnd(std::shared_ptr<Connection> owner) {
    tcp().expires_never();
    stream_.async_read_some(
        asio::buffer(&goodbye_, 1),
        [owner = std::move(owner)](Error, std::size_t) { owner->Close(); });
  }

  void SendNext(std::shared_ptr<Connection> owner) {
    if (source_ == nullptr) return;
    piece_ = source_->Next();
    if (!piece_.empty()) return SendPiece(std::move(owner));
    pause_.expires_after(core_.options.stream_comment);
    pause_.async_wait([this, owner = std::move(owner)](Error error) {
      if (source_ == nullptr) return;
      if (error) return SendNext(owner);  // Woken.
      piece_ = ": still here\n\n";
      SendPiece(owner);
    });
  }

  void SendPiece(std::shared_ptr<Connection> owner) {
    tcp().expires_after(core_.options.write_timeout);
    asio::async_write(
        stream_, asio::buffer(piece_),
        [this, owner = std::move(owner)](Error error, std::size_t) {
          if (error) return owner->Close();
          SendNext(owner);
        });
  }

  Core& core_;
  Stream& stream_;
  asio::steady_timer pause_;  // Until there is more to stream.
  std::shared_ptr<HttpStream> source_;
  std::string piece_;
  char goodbye_ = 0;
};

}  // namespace steadyrun::http_io
