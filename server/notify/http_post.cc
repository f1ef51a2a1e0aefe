#include "server/notify/http_post.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "server/notify/curl_transfer.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

absl::Status Finish(CurlTransfer* transfer) {
  if (transfer->Perform() != CURLE_OK) {
    return absl::UnavailableError(transfer->Error());
  }
  const long status = transfer->Status();
  if (status >= 200 && status < 300) return absl::OkStatus();
  const std::string text =
      fmt::format("HTTP status {}: {}", status, transfer->Answer());
  if (status == 400 || status == 413 || status == 422) {
    return absl::InvalidArgumentError(text);
  }
  return absl::UnavailableError(text);
}

}  // namespace

absl::Status HttpPost(const HttpPostRequest& request) {
  CurlTransfer transfer(request.url, "http,https", request.timeout,
                        request.ca_file);
  CurlList headers(
      ::curl_slist_append(nullptr, "Content-Type: application/json"));
  for (const std::string& header : request.headers) {
    headers.reset(::curl_slist_append(headers.release(), header.c_str()));
  }
  transfer.Set(CURLOPT_HTTPHEADER, headers.get());
  transfer.Set(CURLOPT_POSTFIELDS, request.body.c_str());
  transfer.Set(CURLOPT_POSTFIELDSIZE, static_cast<long>(request.body.size()));
  return Finish(&transfer);
}

absl::Status HttpGet(const std::string& url, Duration timeout,
                     const std::string& ca_file) {
  CurlTransfer transfer(url, "http,https", timeout, ca_file);
  return Finish(&transfer);
}

std::string SignatureHeader(std::string_view secret, std::string_view body,
                            WallTime now) {
  const std::int64_t seconds = ToUnixMillis(now) / 1000;
  const std::string signed_text = fmt::format("{}.{}", seconds, body);
  unsigned char mac[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  ::HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
         reinterpret_cast<const unsigned char*>(signed_text.data()),
         signed_text.size(), mac, &size);
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", mac[i]);
  return fmt::format("t={},v1={}", seconds, hex);
}

}  // namespace steadyrun
