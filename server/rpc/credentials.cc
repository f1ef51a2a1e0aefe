#include "server/rpc/credentials.h"

#include <grpcpp/security/server_credentials.h>
#include <openssl/crypto.h>

#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

constexpr std::size_t kMaxPemBytes = 1 << 20;
constexpr std::size_t kMaxTokens = 10'000;

absl::StatusOr<std::string> ReadPem(const std::string& what,
                                    const std::string& path,
                                    std::string_view marker) {
  absl::StatusOr<std::string> text = ReadFile(path, kMaxPemBytes);
  if (!text.ok()) {
    return absl::Status(
        text.status().code(),
        fmt::format("{}: {}", what, std::string(text.status().message())));
  }
  if (text->find(marker) == std::string::npos) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: '{}' holds no '{}'; a PEM file is expected", what, path, marker));
  }
  return text;
}

std::optional<Role> ParseRole(std::string_view name) {
  for (const Role role : {Role::kViewer, Role::kOperator, Role::kAgent}) {
    if (RoleName(role) == name) return role;
  }
  return std::nullopt;
}

bool IsHexDigest(std::string_view text) {
  if (text.size() != 64) return false;
  for (const char c : text) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c)) ||
        absl::ascii_isupper(static_cast<unsigned char>(c))) {
      return false;
    }
  }
  return true;
}

bool Allows(Role has, Role needed) {
  return has == needed || (has == Role::kOperator && needed == Role::kViewer);
}

// Words between blanks.
std::vector<std::string_view> Words(std::string_view line) {
  std::vector<std::string_view> words;
  std::size_t at = 0;
  while (at < line.size()) {
    const std::size_t begin = line.find_first_not_of(" \t\r", at);
    if (begin == std::string_view::npos) break;
    at = std::min(line.find_first_of(" \t\r", begin), line.size());
    words.push_back(line.substr(begin, at - begin));
  }
  return words;
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const TlsFiles& files) {
  if (!files.IsEnabled()) {
    if (!files.key.empty() || !files.client_ca.empty()) {
      return absl::InvalidArgumentError(
          "a TLS key or client CA is set, but no certificate: set all or none");
    }
    return grpc::InsecureServerCredentials();
  }
  grpc::SslServerCredentialsOptions options(
      files.client_ca.empty()
          ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
          : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  grpc::SslServerCredentialsOptions::PemKeyCertPair pair;
  ASSIGN_OR_RETURN(pair.cert_chain,
                   ReadPem("TLS certificate", files.certificate,
                           "-----BEGIN CERTIFICATE-----"));
  ASSIGN_OR_RETURN(pair.private_key,
                   ReadPem("TLS key", files.key, "PRIVATE KEY-----"));
  options.pem_key_cert_pairs.push_back(std::move(pair));
  if (!files.client_ca.empty()) {
    ASSIGN_OR_RETURN(options.pem_root_certs,
                     ReadPem("TLS client CA", files.client_ca,
                             "-----BEGIN CERTIFICATE-----"));
  }
  return grpc::SslServerCredentials(options);
}

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kViewer:
      return "viewer";
    case Role::kOperator:
      return "operator";
    case Role::kAgent:
      return "agent";
  }
  return "unknown";
}

std::optional<std::string_view> BearerToken(std::string_view authorization) {
  constexpr std::string_view kBearer = "Bearer ";
  if (!authorization.starts_with(kBearer)) return std::nullopt;
  return authorization.substr(kBearer.size());
}

absl::StatusOr<TokenSet> TokenSet::Load(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxPemBytes));
  return Parse(text, path);
}

absl::StatusOr<TokenSet> TokenSet::Parse(std::string_view text,
                                         std::string_view file_name) {
  TokenSet set;
  int line_number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const auto words = Words(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line_number;
    if (words.empty() || words[0].front() == '#') continue;
    const auto bad = [&](std::string_view what) {
      return absl::InvalidArgumentError(fmt::format(
          "{}:{}: {}; expected 'viewer|operator|agent SHA256 [NAME]', the "
          "digest as printed by: printf %s TOKEN | sha256sum",
          file_name, line_number, what));
    };
    const auto role = ParseRole(words[0]);
    if (!role.has_value()) return bad("the first word is no role");
    if (words.size() < 2 || !IsHexDigest(words[1])) {
      return bad("the second word is no SHA-256 in lower-case hexadecimal");
    }
    if (words.size() > 3) return bad("more than three words");
    if (set.entries_.size() >= kMaxTokens) return bad("too many tokens");
    std::string_view name = words.size() > 2 ? words[2] : words[0];
    if (*role == Role::kAgent && words.size() == 2) name = "";
    set.entries_.push_back({std::string(words[1]), {*role, std::string(name)}});
  }
  if (set.entries_.empty()) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: holds no token; nobody could connect. Remove the setting to "
        "serve without tokens",
        file_name));
  }
  return set;
}

absl::StatusOr<Principal> TokenSet::CheckHeader(std::string_view authorization,
                                                Role needed) const {
  if (!IsRequired()) return Principal{needed, ""};
  const auto token = BearerToken(authorization);
  if (!token.has_value()) {
    return absl::UnauthenticatedError(
        "a token is required: send 'authorization: Bearer TOKEN'");
  }
  return CheckToken(*token, needed);
}

absl::StatusOr<Principal> TokenSet::CheckToken(std::string_view token,
                                               Role needed) const {
  if (!IsRequired()) return Principal{needed, ""};
  // All entries are compared, each in constant time: the time taken tells
  // nothing about which came near.
  const std::string digest = Sha256Hex(token);
  const Entry* found = nullptr;
  for (const Entry& entry : entries_) {
    if (CRYPTO_memcmp(entry.sha256.data(), digest.data(), digest.size()) == 0) {
      found = &entry;
    }
  }
  if (found == nullptr) {
    return absl::UnauthenticatedError(
        "the token is not known to this server: check the server's token file");
  }
  RETURN_IF_ERROR(CheckRole(found->principal, needed));
  return found->principal;
}

absl::Status CheckRole(const Principal& who, Role needed) {
  if (Allows(who.role, needed)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      fmt::format("this needs a token of role {}; the one sent is of role {}",
                  RoleName(needed), RoleName(who.role)));
}

absl::StatusOr<HostPort> ParseHostPort(std::string_view address) {
  const auto bad = [&] {
    return absl::InvalidArgumentError(
        fmt::format("address '{}': expected HOST:PORT, such as 127.0.0.1:7070 "
                    "or [::1]:7070, port 0..65535",
                    address));
  };
  const std::size_t colon = address.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return bad();
  HostPort result;
  std::string_view host = address.substr(0, colon);
  if (host.front() == '[') {
    if (host.size() < 3 || host.back() != ']') return bad();
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad();
  }
  result.host = std::string(host);
  const std::string port(address.substr(colon + 1));
  if (port.empty() || !absl::ascii_isdigit(static_cast<unsigned char>(port[0])))
    return bad();
  if (!absl::SimpleAtoi(port, &result.port) || result.port > 65535) {
    return bad();
  }
  return result;
}

bool IsLoopback(std::string_view host) {
  return host == "localhost" || host == "::1" || host.substr(0, 4) == "127.";
}

absl::Status CheckExposure(std::string_view what, std::string_view address,
                           bool has_tls, bool has_tokens,
                           bool insecure_allowed) {
  ASSIGN_OR_RETURN(const HostPort parsed, ParseHostPort(address));
  if (IsLoopback(parsed.host) || insecure_allowed) return absl::OkStatus();
  if (has_tls && has_tokens) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "{} address '{}' is reachable from other machines, but {}: anybody there "
      "could start processes. Set both, listen on 127.0.0.1, or pass "
      "--insecure",
      what, address,
      !has_tls && !has_tokens ? "neither TLS nor tokens are set"
      : !has_tls              ? "TLS is not set"
                              : "no tokens are set"));
}

}  // namespace steadyrun
