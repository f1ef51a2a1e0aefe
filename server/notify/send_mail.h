#pragma once

#include <string>

#include "absl/status/status.h"
#include "base/clock.h"

namespace steadyrun {

struct MailRequest {
  std::string url;  // smtp:// (STARTTLS if there is a user) or smtps://
  std::string user;
  std::string password;
  std::string from;
  std::string to;    // One receiver: another one's refusal is not its own.
  std::string text;  // Headers and body, CRLF.
  Duration timeout{std::chrono::seconds(20)};
  std::string ca_file;  // PEM; empty: the authorities of the system.
};

// Blocks until the server has taken the mail, or `timeout`. INVALID_ARGUMENT:
// it refuses for good what the mail says (5xx after the text). UNAVAILABLE: all
// else, a refused receiver too, since people mend that. Thread-safe.
absl::Status SendMail(const MailRequest& request);

}  // namespace steadyrun
