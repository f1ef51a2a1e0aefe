#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace grpc {
class ServerCredentials;
}

namespace steadyrun {

// Files in PEM. Empty `certificate`: no TLS.
struct TlsFiles {
  std::string certificate;  // Chain, leaf first.
  std::string key;
  std::string client_ca;  // Not empty: clients must show a certificate of it.
  bool IsEnabled() const { return !certificate.empty(); }
};

// INVALID_ARGUMENT or NOT_FOUND name the file and what is wrong with it.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const TlsFiles& files);

enum class Role { kViewer, kOperator, kAgent };
std::string_view RoleName(Role role);

// Who a caller is, as far as a token tells.
struct Principal {
  Role role = Role::kOperator;
  std::string name;  // Empty without tokens, and for an agent of any node.
};

// PERMISSION_DENIED if the principal's role does not allow `needed`.
absl::Status CheckRole(const Principal& who, Role needed);

// The token of "Bearer <token>"; empty if the header's value is another.
std::optional<std::string_view> BearerToken(std::string_view authorization);

// The tokens that are accepted, kept only as SHA-256. Immutable: thread-safe.
class TokenSet {
 public:
  TokenSet() = default;  // No tokens: everybody may do everything.

  // One token a line: "role sha256-of-the-token name", role being viewer,
  // operator or agent; blank lines and # comments are skipped. An operator's
  // name goes into the audit table; an agent's token with a name is good for
  // the node of that name only. Errors name file and line.
  static absl::StatusOr<TokenSet> Load(const std::string& path);
  static absl::StatusOr<TokenSet> Parse(std::string_view text,
                                        std::string_view file_name);

  bool IsRequired() const { return !entries_.empty(); }

  // `authorization` is the header's value, "Bearer <token>". UNAUTHENTICATED
  // if it is missing or unknown, PERMISSION_DENIED if its role does not allow
  // `needed`. An operator may do what a viewer may; agents only connect.
  absl::StatusOr<Principal> CheckHeader(std::string_view authorization,
                                        Role needed) const;
  absl::StatusOr<Principal> CheckToken(std::string_view token,
                                       Role needed) const;

 private:
  struct Entry {
    std::string sha256;
    Principal principal;
  };
  std::vector<Entry> entries_;
};

// "127.0.0.1:7070", "[::1]:0", "localhost:80". Without a port: an error.
struct HostPort {
  std::string host;
  int port = 0;
};
absl::StatusOr<HostPort> ParseHostPort(std::string_view address);
bool IsLoopback(std::string_view host);

// Refuses what would be open to a network without TLS and tokens.
absl::Status CheckExposure(std::string_view what, std::string_view address,
                           bool has_tls, bool has_tokens,
                           bool insecure_allowed);

}  // namespace steadyrun
