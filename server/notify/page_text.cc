#include "server/notify/page_text.h"

#include <nlohmann/json.hpp>

#include "spdlog/fmt/fmt.h"

namespace steadyrun {

std::string PageJson(const Page& page) {
  using Json = nlohmann::ordered_json;
  const std::string incident =
      page.incident > 0 ? fmt::format("{}:{}", page.run, page.incident) : "";
  const std::string text =
      page.run.empty() ? page.text : fmt::format("{}: {}", page.run, page.text);
  const Json json = {{"text", "Steadyrun: " + text},
                     {"run", page.run},
                     {"incident", incident}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace steadyrun
