#pragma once

#include <string>

#include "server/notify/notice.h"
#include "server/notify/notice_text.h"

namespace steadyrun {

// RFC 5322, with CRLF and lines of at most 76 bytes in the body, whatever a
// reason says (servers refuse lines above 998); `message_id` without brackets.
// Pure.
std::string MailText(const NoticeGroup& group, const std::string& from,
                     const std::string& to, WallTime now,
                     const std::string& message_id, const NoticeLinks& links);

}  // namespace steadyrun
