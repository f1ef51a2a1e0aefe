#include "server/notify/sinks.h"

#include <utility>

#include "base/digest.h"
#include "base/status_macros.h"
#include "server/notify/http_post.h"
#include "server/notify/mail_text.h"
#include "server/notify/run_program.h"
#include "server/notify/send_mail.h"

namespace steadyrun {
namespace {

class BaseSink : public NoticeSink {
 public:
  BaseSink(std::string name, bool is_for_paging, const SinkOptions& options)
      : options_(options),
        name_(std::move(name)),
        is_for_paging_(is_for_paging) {}
  const std::string& Name() const override { return name_; }
  bool IsForPaging() const override { return is_for_paging_; }

 protected:
  absl::Status Post(const std::string& url, std::string body,
                    std::vector<std::string> headers = {}) const {
    return HttpPost({url, std::move(body), std::move(headers), options_.timeout,
                     options_.ca_file});
  }
  const SinkOptions options_;

 private:
  const std::string name_;
  const bool is_for_paging_;
};

class WebhookSink final : public BaseSink {
 public:
  explicit WebhookSink(const SinkOptions& options)
      : BaseSink("webhook", options.webhook_paging, options) {}
  absl::Status Deliver(const NoticeGroup& group, WallTime now) override {
    std::string body = WebhookBody(group, now, options_.links);
    std::vector<std::string> headers;
    if (!options_.webhook_secret.empty()) {
      headers.push_back("X-Steadyrun-Signature: " +
                        SignatureHeader(options_.webhook_secret, body, now));
    }
    return Post(options_.webhook_url, std::move(body), std::move(headers));
  }
};

class SlackSink final : public BaseSink {
 public:
  explicit SlackSink(const SinkOptions& options)
      : BaseSink("slack", options.slack_paging, options) {}
  absl::Status Deliver(const NoticeGroup& group, WallTime) override {
    return Post(options_.slack_url, SlackBody(group, options_.links));
  }
};

class PagerDutySink final : public BaseSink {
 public:
  explicit PagerDutySink(const SinkOptions& options)
      : BaseSink("pagerduty", options.pagerduty_paging, options) {}
  // One event a notice. After a failure the group comes again: PagerDuty
  // drops what it has by its dedup_key.
  absl::Status Deliver(const NoticeGroup& group, WallTime) override {
    absl::Status refused;
    for (const Notice& notice : group.notices) {
      absl::Status status =
          Post(options_.pagerduty_url,
               PagerDutyBody(notice, group.run, options_.pagerduty_routing_key,
                             options_.links));
      if (absl::IsInvalidArgument(status)) {
        refused = std::move(status);  // The others may be taken.
      } else {
        RETURN_IF_ERROR(status);
      }
    }
    return refused;
  }
};

class MailSink final : public BaseSink {
 public:
  MailSink(std::string to, const SinkOptions& options)
      : BaseSink("mail:" + to, options.mail_paging, options),
        to_(std::move(to)) {}
  absl::Status Deliver(const NoticeGroup& group, WallTime now) override {
    MailRequest mail;
    mail.url = options_.mail_url;
    mail.user = options_.mail_user;
    mail.password = options_.mail_password;
    mail.from = options_.mail_from;
    mail.to = to_;
    mail.timeout = options_.timeout;
    mail.ca_file = options_.ca_file;
    mail.text = MailText(group, mail.from, mail.to, now,
                         RandomHex64() + "@steadyrun", options_.links);
    return SendMail(mail);
  }

 private:
  const std::string to_;
};

class CommandSink final : public BaseSink {
 public:
  explicit CommandSink(const SinkOptions& options)
      : BaseSink("program", options.command_paging, options) {}
  absl::Status Deliver(const NoticeGroup& group, WallTime) override {
    return RunProgram(options_.command,
                      {"STEADYRUN_NOTICE_RUN=" + group.run,
                       "STEADYRUN_NOTICE_TITLE=" + GroupTitle(group)},
                      options_.timeout,
                      GroupText(group, options_.links) + "\n");
  }
};

}  // namespace

std::vector<std::unique_ptr<NoticeSink>> MakeSinks(const SinkOptions& options) {
  std::vector<std::unique_ptr<NoticeSink>> sinks;
  if (!options.webhook_url.empty()) {
    sinks.push_back(std::make_unique<WebhookSink>(options));
  }
  if (!options.slack_url.empty()) {
    sinks.push_back(std::make_unique<SlackSink>(options));
  }
  if (!options.pagerduty_routing_key.empty()) {
    sinks.push_back(std::make_unique<PagerDutySink>(options));
  }
  if (!options.mail_url.empty()) {
    for (const std::string& to : options.mail_to) {
      sinks.push_back(std::make_unique<MailSink>(to, options));
    }
  }
  if (!options.command.empty()) {
    sinks.push_back(std::make_unique<CommandSink>(options));
  }
  return sinks;
}

}  // namespace steadyrun
