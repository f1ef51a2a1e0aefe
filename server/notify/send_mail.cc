#include "server/notify/send_mail.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "server/notify/curl_transfer.h"

namespace steadyrun {
namespace {

std::size_t ReadText(char* to, std::size_t size, std::size_t count,
                     void* from) {
  auto& left = *static_cast<std::string_view*>(from);
  const std::size_t taken = std::min(size * count, left.size());
  std::memcpy(to, left.data(), taken);
  left.remove_prefix(taken);
  return taken;
}

}  // namespace

absl::Status SendMail(const MailRequest& request) {
  CurlTransfer transfer(request.url, "smtp,smtps", request.timeout,
                        request.ca_file);
  const CurlList to(::curl_slist_append(nullptr, request.to.c_str()));
  if (!request.user.empty()) {
    // A password never goes over a line that can be read.
    transfer.Set(CURLOPT_USE_SSL, static_cast<long>(CURLUSESSL_ALL));
    transfer.Set(CURLOPT_USERNAME, request.user.c_str());
    transfer.Set(CURLOPT_PASSWORD, request.password.c_str());
  }
  // Lines that begin with a dot get a second one from libcurl.
  std::string_view left = request.text;
  transfer.Set(CURLOPT_MAIL_FROM, request.from.c_str());
  transfer.Set(CURLOPT_MAIL_RCPT, to.get());
  transfer.Set(CURLOPT_READFUNCTION, &ReadText);
  transfer.Set(CURLOPT_READDATA, &left);
  transfer.Set(CURLOPT_UPLOAD, 1L);
  if (transfer.Perform() == CURLE_OK) return absl::OkStatus();
  if (transfer.Uploaded() > 0 && transfer.Status() >= 500) {
    return absl::InvalidArgumentError(transfer.Error());
  }
  return absl::UnavailableError(transfer.Error());
}

}  // namespace steadyrun
