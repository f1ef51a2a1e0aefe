#include "server/notify/http_post.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>

#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

// Of an answer, kept for the message of an error.
constexpr std::size_t kMaxAnswer = 200;

struct CloseCurl {
  void operator()(CURL* curl) const { ::curl_easy_cleanup(curl); }
};
struct FreeList {
  void operator()(curl_slist* list) const { ::curl_slist_free_all(list); }
};
using Curl = std::unique_ptr<CURL, CloseCurl>;
using CurlList = std::unique_ptr<curl_slist, FreeList>;

std::size_t KeepStart(char* bytes, std::size_t size, std::size_t count,
                      void* answer) {
  auto& text = *static_cast<std::string*>(answer);
  const std::size_t room = kMaxAnswer - std::min(kMaxAnswer, text.size());
  text.append(bytes, std::min(room, size * count));
  return size * count;
}

Curl MakeCurl(const std::string& url, const char* protocols, Duration timeout) {
  static std::once_flag once;
  std::call_once(once, [] { ::curl_global_init(CURL_GLOBAL_DEFAULT); });
  Curl curl(::curl_easy_init());
  if (curl == nullptr) return curl;
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count();
  ::curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  ::curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, protocols);
  ::curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(ms));
  ::curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &KeepStart);
  return curl;
}

std::string Printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < 0x20 || c > 0x7e; },
      ' ');
  return text;
}

absl::Status Perform(CURL* curl) {
  std::string answer;
  ::curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
  const CURLcode code = ::curl_easy_perform(curl);
  if (code != CURLE_OK) {
    return absl::UnavailableError(::curl_easy_strerror(code));
  }
  long status = 0;
  ::curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  if (status >= 200 && status < 300) return absl::OkStatus();
  const std::string text =
      fmt::format("HTTP status {}: {}", status, Printable(std::move(answer)));
  if (status == 400 || status == 413 || status == 422) {
    return absl::InvalidArgumentError(text);
  }
  return absl::UnavailableError(text);
}

std::size_t ReadText(char* to, std::size_t size, std::size_t count,
                     void* from) {
  auto& left = *static_cast<std::string_view*>(from);
  const std::size_t taken = std::min(size * count, left.size());
  std::memcpy(to, left.data(), taken);
  left.remove_prefix(taken);
  return taken;
}

}  // namespace

absl::Status HttpPost(const HttpPostRequest& request) {
  const Curl curl = MakeCurl(request.url, "http,https", request.timeout);
  if (curl == nullptr) return absl::InternalError("curl_easy_init failed");
  CurlList headers(
      ::curl_slist_append(nullptr, "Content-Type: application/json"));
  for (const std::string& header : request.headers) {
    headers.reset(::curl_slist_append(headers.release(), header.c_str()));
  }
  ::curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  ::curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, request.body.c_str());
  ::curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE,
                     static_cast<long>(request.body.size()));
  return Perform(curl.get());
}

absl::Status HttpGet(const std::string& url, Duration timeout) {
  const Curl curl = MakeCurl(url, "http,https", timeout);
  if (curl == nullptr) return absl::InternalError("curl_easy_init failed");
  return Perform(curl.get());
}

absl::Status SendMail(const MailRequest& request) {
  const Curl curl = MakeCurl(request.url, "smtp,smtps", request.timeout);
  if (curl == nullptr) return absl::InternalError("curl_easy_init failed");
  CurlList to;
  for (const std::string& one : request.to) {
    to.reset(::curl_slist_append(to.release(), one.c_str()));
  }
  if (!request.user.empty()) {
    // A password never goes over a line that can be read.
    ::curl_easy_setopt(curl.get(), CURLOPT_USE_SSL,
                       static_cast<long>(CURLUSESSL_ALL));
    ::curl_easy_setopt(curl.get(), CURLOPT_USERNAME, request.user.c_str());
    ::curl_easy_setopt(curl.get(), CURLOPT_PASSWORD, request.password.c_str());
  }
  std::string_view left = request.text;
  ::curl_easy_setopt(curl.get(), CURLOPT_MAIL_FROM, request.from.c_str());
  ::curl_easy_setopt(curl.get(), CURLOPT_MAIL_RCPT, to.get());
  ::curl_easy_setopt(curl.get(), CURLOPT_READFUNCTION, &ReadText);
  ::curl_easy_setopt(curl.get(), CURLOPT_READDATA, &left);
  ::curl_easy_setopt(curl.get(), CURLOPT_UPLOAD, 1L);
  return Perform(curl.get());
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
