#pragma once

// What HTTP and SMTP through libcurl have in common.

#include <curl/curl.h>

#include <memory>
#include <string>

#include "base/clock.h"

namespace steadyrun {

struct CloseCurl {
  void operator()(CURL* curl) const { ::curl_easy_cleanup(curl); }
};
struct FreeCurlList {
  void operator()(curl_slist* list) const { ::curl_slist_free_all(list); }
};
using CurlList = std::unique_ptr<curl_slist, FreeCurlList>;

// One exchange with one server: a bound on its time, no signals, none but the
// protocols named ("http,https"). Not thread-safe.
class CurlTransfer {
 public:
  // `ca_file`: PEM of those who may vouch for the server; empty: the system's.
  CurlTransfer(const std::string& url, const char* protocols, Duration timeout,
               const std::string& ca_file);

  template <typename Value>
  void Set(CURLoption option, Value value) {
    if (curl_ != nullptr) ::curl_easy_setopt(curl_.get(), option, value);
  }

  // Blocks. What stopped it is in Error() then.
  CURLcode Perform();

  // The last status of the server, in the numbers of its protocol; 0: none.
  long Status() const;
  // What was wrong, in curl's words, and in those of an SMTP server.
  std::string Error() const;
  // The start of the answer's body; what is no printable ASCII is a blank.
  const std::string& Answer() const { return answer_; }
  // Bytes of a body that were sent.
  curl_off_t Uploaded() const;

 private:
  static std::size_t KeepStart(char* bytes, std::size_t size, std::size_t count,
                               void* answer);
  static std::size_t KeepRefusal(char* bytes, std::size_t size,
                                 std::size_t count, void* line);

  std::unique_ptr<CURL, CloseCurl> curl_;
  CURLcode code_ = CURLE_FAILED_INIT;
  std::string answer_;
  std::string refusal_;  // The newest line of SMTP that says 4xx or 5xx.
  char error_[CURL_ERROR_SIZE] = {};
};

}  // namespace steadyrun
