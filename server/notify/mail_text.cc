#include "server/notify/mail_text.h"

#include <algorithm>

#include "absl/time/time.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

constexpr std::size_t kMaxHeaderText = 200;

// A header line must not be continued by what a run is called or says.
std::string HeaderText(std::string text) {
  std::replace_if(
      text.begin(), text.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  if (text.size() <= kMaxHeaderText) return text;
  return text.substr(0, kMaxHeaderText) + "...";
}

// RFC 2045, 6.7: readable as it is where the text is ASCII.
std::string QuotedPrintable(const std::string& text) {
  constexpr std::size_t kMaxLine = 75;  // And a '=' where it is broken.
  std::string out;
  std::size_t column = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '\n') {
      out += "\r\n";
      column = 0;
      continue;
    }
    const bool ends_line = i + 1 == text.size() || text[i + 1] == '\n';
    const bool is_plain = (byte > 0x20 && byte < 0x7f && byte != '=') ||
                          (byte == ' ' && !ends_line);
    const std::string piece =
        is_plain ? std::string(1, text[i]) : fmt::format("={:02X}", byte);
    if (column + piece.size() > kMaxLine) {
      out += "=\r\n";
      column = 0;
    }
    out += piece;
    column += piece.size();
  }
  return out;
}

}  // namespace

std::string MailText(const NoticeGroup& group, const std::string& from,
                     const std::string& to, WallTime now,
                     const std::string& message_id, const NoticeLinks& links) {
  const std::string date =
      absl::FormatTime("%a, %d %b %Y %H:%M:%S +0000", absl::FromChrono(now),
                       absl::UTCTimeZone());
  return fmt::format(
      "Date: {}\r\nFrom: {}\r\nTo: {}\r\nMessage-ID: <{}>\r\nSubject: {}\r\n"
      "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
      "Content-Transfer-Encoding: quoted-printable\r\n"
      "Auto-Submitted: auto-generated\r\n\r\n{}\r\n",
      date, HeaderText(from), HeaderText(to), message_id,
      HeaderText(GroupTitle(group)), QuotedPrintable(GroupText(group, links)));
}

}  // namespace steadyrun
