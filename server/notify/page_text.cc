#include "server/notify/page_text.h"

#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      quoted += fmt::format("\\u{:04x}", byte);
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

}  // namespace

std::string PageJson(const Page& page) {
  const std::string incident =
      page.incident > 0 ? fmt::format("{}:{}", page.run, page.incident) : "";
  const std::string text =
      page.run.empty() ? page.text : fmt::format("{}: {}", page.run, page.text);
  return fmt::format("{{\"text\":{},\"run\":{},\"incident\":{}}}",
                     Quoted("Steadyrun: " + text), Quoted(page.run),
                     Quoted(incident));
}

}  // namespace steadyrun
