#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"

namespace steadyrun {

struct HttpPostRequest {
  std::string url;  // http or https.
  std::string body;
  std::vector<std::string> headers;  // "Name: value", beside Content-Type.
  Duration timeout{std::chrono::seconds(10)};
  std::string ca_file;  // PEM; empty: the authorities of the system.
};

// Blocks until the answer or `timeout`. INVALID_ARGUMENT: the receiver refuses
// what is said (400, 413, 422): the same again is of no use. UNAVAILABLE: all
// else but a status of 200 to 299. Redirects are not followed: a receiver must
// not choose where this service connects to. Thread-safe.
absl::Status HttpPost(const HttpPostRequest& request);
absl::Status HttpGet(const std::string& url, Duration timeout,
                     const std::string& ca_file = "");

// "t=<unix seconds>,v1=<hex>": HMAC-SHA256 of "<unix seconds>.<body>", so that
// a receiver can refuse both what is forged and what is replayed.
std::string SignatureHeader(std::string_view secret, std::string_view body,
                            WallTime now);

}  // namespace steadyrun
