#pragma once

#include <optional>
#include <string_view>

namespace steadyrun {

struct Asset {
  std::string_view content_type;
  std::string_view bytes;
};

// The files of the status page, which are part of the program.
std::optional<Asset> FindAsset(std::string_view path);

}  // namespace steadyrun
