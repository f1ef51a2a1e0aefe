#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/spool/reserve_file.h"
#include "agent/transport/link_inbox.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "proto/messages/messages.h"

namespace steadyrun::agent {

struct TlsFiles {
  std::string ca_file;    // Of the server's authority; required.
  std::string cert_file;  // Of this node; optional, with key_file.
  std::string key_file;
  std::string server_name;  // In the server's certificate; empty: its address.
};

struct LinkOptions {
  std::string server_address;   // host:port
  std::optional<TlsFiles> tls;  // None: plaintext.
  BackoffOptions backoff{std::chrono::milliseconds(100),
                         std::chrono::seconds(2), 2.0};
  Duration connect_timeout = std::chrono::seconds(5);
  // A server that took the Hello and says nothing.
  Duration welcome_timeout = std::chrono::seconds(10);
  // After so long without a byte, a ping is sent; if it stays unanswered as
  // long as the second, the connection is given up.
  Duration keepalive = std::chrono::seconds(10);
  Duration keepalive_timeout = std::chrono::seconds(5);
  // After an error that trying again does not mend (a refused token).
  Duration long_backoff = std::chrono::seconds(30);
};

// Keeps one stream to the server, again and again. Losing it is normal. Used
// by the loop's thread alone; never blocks, but for Stop.
//
//   waiting --backoff--> connecting --connected--> open
//      ^                      |                      |
//      +------- closed -------+------ closing -------+
class ServerLink {
 public:
  // INVALID_ARGUMENT: unreadable certificates.
  static absl::StatusOr<std::unique_ptr<ServerLink>> Create(
      LinkOptions options);
  ~ServerLink();
  ServerLink(const ServerLink&) = delete;
  ServerLink& operator=(const ServerLink&) = delete;

  struct Opened {};
  struct ConnectFailed {  // A try that did not get as far as a stream.
    absl::Status status;
  };
  using Event = std::variant<Opened, ConnectFailed, LinkMessage, LinkClosed>;
  // Deadlines, and what has happened since. `random` is for the backoff;
  // `is_readable`: fd() is.
  std::vector<Event> Poll(MonoTime now, std::uint64_t random, bool is_readable);
  // Readable when Poll has something to tell.
  int fd() const { return inbox_->fd(); }
  // Poll wants to be called again after this long at the latest.
  Duration PollInterval() const;

  // Whether a message may be sent now: open, and none under way.
  bool CanSend() const;
  // The Hello must be the first message. Requires: CanSend().
  void SendHello(const Hello& hello);
  void Send(const std::optional<NodeState>& heartbeat,
            const std::vector<SpooledReport>& reports);
  // Ends the stream; Poll tells when it is closed, and a new one is opened
  // after the backoff.
  void Close(std::string reason);
  // Ends the stream for good.
  void Stop();

 private:
  enum class State {
    kWaiting,     // Until next_try_.
    kConnecting,  // A stream waits for its connection.
    kOpen,
    kClosing,  // Cancelled; gRPC has not let go of it yet.
  };
  class Channel;
  explicit ServerLink(LinkOptions options);
  void OpenStream(MonoTime now);
  void PollConnecting(MonoTime now, std::vector<Event>* events);
  void Cancel(absl::Status status);
  void HandleClosed(absl::Status status, MonoTime now, std::uint64_t random,
                    std::vector<Event>* events);

  const LinkOptions options_;
  std::shared_ptr<LinkInbox> inbox_;
  std::unique_ptr<Channel> channel_;
  std::shared_ptr<class ServerStream> stream_;
  std::uint64_t streams_ = 0;
  State state_ = State::kWaiting;
  bool is_stopped_ = false;
  bool was_opened_ = false;   // This stream got as far as kOpen.
  bool is_welcomed_ = false;  // On this stream.
  absl::Status cancel_reason_;
  MonoTime since_;  // Of kConnecting or kOpen.
  MonoTime next_try_;
  int failures_ = 0;
};

}  // namespace steadyrun::agent
