#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/notify/notice.h"
#include "server/notify/notice_text.h"

namespace steadyrun {

// One place that is told of incidents. Calls come from the sink's own thread
// and may block for a few timeouts.
class NoticeSink {
 public:
  virtual ~NoticeSink() = default;
  virtual const std::string& Name() const = 0;
  // Only of runs that are marked for paging (STEADYRUN_PAGE in the run's
  // environment), and of the service itself.
  virtual bool IsForPaging() const = 0;
  // OK: it was told. INVALID_ARGUMENT: it will never take this. Anything else:
  // to be tried again.
  virtual absl::Status Deliver(const NoticeGroup& group, WallTime now) = 0;
};

// An empty url, routing_key or list: this sink is not wanted.
struct SinkOptions {
  std::string webhook_url;
  std::string webhook_secret;  // Empty: not signed.
  bool webhook_paging = false;

  std::string slack_url;
  bool slack_paging = false;

  std::string pagerduty_url = "https://events.pagerduty.com/v2/enqueue";
  std::string pagerduty_routing_key;
  bool pagerduty_paging = true;

  std::string mail_url;  // smtp:// or smtps://
  std::string mail_user;
  std::string mail_password;
  std::string mail_from;
  // Each is told by itself ("mail:ops@example.org"): one that the mail server
  // refuses is tried again, and shown, without the others hearing twice.
  std::vector<std::string> mail_to;
  bool mail_paging = false;

  // Program and arguments. The text is on its standard input, run and title
  // in STEADYRUN_NOTICE_RUN and STEADYRUN_NOTICE_TITLE.
  std::vector<std::string> command;
  bool command_paging = false;

  NoticeLinks links;
  // PEM of those who may vouch for the receivers; empty: the system's.
  std::string ca_file;
  Duration timeout{std::chrono::seconds(10)};  // Of one attempt.
};

std::vector<std::unique_ptr<NoticeSink>> MakeSinks(const SinkOptions& options);

}  // namespace steadyrun
