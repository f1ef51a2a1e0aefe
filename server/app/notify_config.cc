#include "server/app/notify_config.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "base/file.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

// Each has a thread: an address of a group is better than many of people.
constexpr std::size_t kMaxReceivers = 32;
constexpr std::size_t kMaxSecretBytes = 4096;

// A URL of one of `schemes` ("http:// or https://", for messages).
void ReadUrl(ConfigReader* reader, const std::string& key, std::string* url,
             std::string_view first, std::string_view second) {
  if (!reader->ReadText(key, url) || url->empty()) return;
  if (!url->starts_with(first) && !url->starts_with(second)) {
    reader->AddError(
        key, fmt::format("'{}' is no {} or {} URL", *url, first, second));
  }
}
void ReadHttpUrl(ConfigReader* reader, const std::string& key,
                 std::string* url) {
  ReadUrl(reader, key, url, "http://", "https://");
}

void ReadSecret(ConfigReader* reader, const std::string& key,
                std::string* secret) {
  std::string file;
  if (!reader->ReadText(key, &file) || file.empty()) return;
  const auto text = ReadFile(file, kMaxSecretBytes);
  if (!text.ok()) {
    reader->AddError(key, std::string(text.status().message()));
    return;
  }
  *secret = std::string(absl::StripAsciiWhitespace(*text));
  if (secret->empty()) {
    reader->AddError(key, fmt::format("'{}' is empty", file));
  }
}

// An address stands in a command to the mail server, in a header and in the
// name of a sink: what could break out of these is refused.
void CheckMailAddresses(const SinkOptions& sinks, ConfigReader* reader) {
  const auto check = [reader](const std::string& key,
                              const std::string& address) {
    const bool is_plain =
        std::all_of(address.begin(), address.end(), [](char c) {
          return absl::ascii_isgraph(static_cast<unsigned char>(c)) &&
                 c != '<' && c != '>' && c != ',' && c != '"';
        });
    if (is_plain && address.find('@') != std::string::npos) return;
    reader->AddError(key, fmt::format("'{}' is no address such as "
                                      "ops@example.org",
                                      address));
  };
  if (!sinks.mail_from.empty()) check("notify.mail.from", sinks.mail_from);
  std::set<std::string> seen;
  for (const std::string& to : sinks.mail_to) {
    check("notify.mail.to", to);
    if (!seen.insert(to).second) {
      reader->AddError("notify.mail.to", fmt::format("'{}' twice", to));
    }
  }
}

void ReadSinks(ConfigReader* reader, SinkOptions* sinks) {
  ReadHttpUrl(reader, "notify.webhook.url", &sinks->webhook_url);
  ReadSecret(reader, "notify.webhook.secret_file", &sinks->webhook_secret);
  reader->ReadBool("notify.webhook.paging", &sinks->webhook_paging);
  ReadHttpUrl(reader, "notify.slack.url", &sinks->slack_url);
  // The path of such a URL is its secret.
  ReadSecret(reader, "notify.slack.url_file", &sinks->slack_url);
  reader->ReadBool("notify.slack.paging", &sinks->slack_paging);
  ReadHttpUrl(reader, "notify.pagerduty.url", &sinks->pagerduty_url);
  ReadSecret(reader, "notify.pagerduty.routing_key_file",
             &sinks->pagerduty_routing_key);
  reader->ReadBool("notify.pagerduty.paging", &sinks->pagerduty_paging);
  ReadUrl(reader, "notify.mail.url", &sinks->mail_url, "smtp://", "smtps://");
  reader->ReadText("notify.mail.user", &sinks->mail_user);
  ReadSecret(reader, "notify.mail.password_file", &sinks->mail_password);
  reader->ReadText("notify.mail.from", &sinks->mail_from);
  reader->ReadTextList("notify.mail.to", &sinks->mail_to, kMaxReceivers);
  CheckMailAddresses(*sinks, reader);
  reader->ReadBool("notify.mail.paging", &sinks->mail_paging);
  if (!sinks->mail_url.empty() &&
      (sinks->mail_to.empty() || sinks->mail_from.empty())) {
    reader->AddError("notify.mail.url",
                     "mail needs notify.mail.from and notify.mail.to");
  }
  reader->ReadTextList("notify.program.command", &sinks->command, 64);
  reader->ReadBool("notify.program.paging", &sinks->command_paging);
  reader->ReadText("notify.ca_file", &sinks->ca_file);
  reader->ReadDuration("notify.timeout", &sinks->timeout,
                       {milliseconds(100), minutes(2)});
}

}  // namespace

void ReadNotifier(ConfigReader* reader, NotifierOptions* options) {
  NoticeOptions& notice = options->notice;
  reader->ReadDuration("notify.remind_after", &notice.remind_after,
                       {minutes(1), hours(24 * 7)});
  reader->ReadDuration("notify.flap_window", &notice.flap_window,
                       {seconds(0), hours(24)});
  reader->ReadDuration("notify.group_wait", &options->group_wait,
                       {seconds(0), minutes(10)});
  reader->ReadChoice<Severity>("notify.min_severity", &notice.min_severity,
                               {{"info", Severity::kInfo},
                                {"warning", Severity::kWarning},
                                {"critical", Severity::kCritical}});
  NoticeLinks& links = options->sinks.links;
  ReadHttpUrl(reader, "notify.external_url", &links.external_url);
  ReadHttpUrl(reader, "notify.runbook_url", &links.runbook_url);
  while (links.external_url.ends_with('/')) links.external_url.pop_back();
  ReadSinks(reader, &options->sinks);
  ReadHttpUrl(reader, "notify.alertmanager.url", &options->alertmanager_url);
  while (options->alertmanager_url.ends_with('/')) {
    options->alertmanager_url.pop_back();
  }
  reader->ReadDuration("notify.alertmanager.interval",
                       &options->alertmanager_interval,
                       {milliseconds(100), minutes(10)});
  ReadHttpUrl(reader, "notify.dead_man.url", &options->dead_man_url);
  reader->ReadDuration("notify.dead_man.interval", &options->dead_man_interval,
                       {milliseconds(100), hours(1)});
}

}  // namespace steadyrun
