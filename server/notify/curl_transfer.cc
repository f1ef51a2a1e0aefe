#include "server/notify/curl_transfer.h"

#include <algorithm>
#include <mutex>

#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

// Of an answer, kept for the message of an error.
constexpr std::size_t kMaxAnswer = 200;

void AppendPrintable(std::string_view bytes, std::string* text) {
  for (const char c : bytes) {
    if (text->size() == kMaxAnswer) return;
    *text += c < 0x20 || c > 0x7e ? ' ' : c;
  }
}

}  // namespace

CurlTransfer::CurlTransfer(const std::string& url, const char* protocols,
                           Duration timeout, const std::string& ca_file) {
  static std::once_flag once;
  std::call_once(once, [] { ::curl_global_init(CURL_GLOBAL_DEFAULT); });
  curl_.reset(::curl_easy_init());
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count();
  Set(CURLOPT_URL, url.c_str());
  Set(CURLOPT_PROTOCOLS_STR, protocols);
  Set(CURLOPT_NOSIGNAL, 1L);
  Set(CURLOPT_TIMEOUT_MS, static_cast<long>(ms));
  if (!ca_file.empty()) Set(CURLOPT_CAINFO, ca_file.c_str());
  Set(CURLOPT_ERRORBUFFER, static_cast<char*>(error_));
  Set(CURLOPT_WRITEFUNCTION, &KeepStart);
  Set(CURLOPT_WRITEDATA, &answer_);
  Set(CURLOPT_HEADERFUNCTION, &KeepRefusal);
  Set(CURLOPT_HEADERDATA, &refusal_);
}

std::size_t CurlTransfer::KeepStart(char* bytes, std::size_t size,
                                    std::size_t count, void* answer) {
  AppendPrintable({bytes, size * count}, static_cast<std::string*>(answer));
  return size * count;
}

std::size_t CurlTransfer::KeepRefusal(char* bytes, std::size_t size,
                                      std::size_t count, void* line) {
  if (size * count > 0 && (*bytes == '4' || *bytes == '5')) {
    auto& refusal = *static_cast<std::string*>(line);
    refusal.clear();
    AppendPrintable({bytes, size * count}, &refusal);
    refusal.erase(refusal.find_last_not_of(' ') + 1);
  }
  return size * count;
}

CURLcode CurlTransfer::Perform() {
  if (curl_ != nullptr) code_ = ::curl_easy_perform(curl_.get());
  return code_;
}

long CurlTransfer::Status() const {
  long status = 0;
  if (curl_ != nullptr) {
    ::curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &status);
  }
  return status;
}

curl_off_t CurlTransfer::Uploaded() const {
  curl_off_t bytes = 0;
  if (curl_ != nullptr) {
    ::curl_easy_getinfo(curl_.get(), CURLINFO_SIZE_UPLOAD_T, &bytes);
  }
  return bytes;
}

std::string CurlTransfer::Error() const {
  const std::string what =
      error_[0] != '\0' ? error_ : ::curl_easy_strerror(code_);
  return refusal_.empty() ? what : fmt::format("{} ({})", what, refusal_);
}

}  // namespace steadyrun
