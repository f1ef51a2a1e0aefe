#include "server/web/assets.h"

// From assets.S.
extern "C" {
extern const char steadyrun_asset_index_begin[];
extern const char steadyrun_asset_index_end[];
extern const char steadyrun_asset_app_begin[];
extern const char steadyrun_asset_app_end[];
extern const char steadyrun_asset_style_begin[];
extern const char steadyrun_asset_style_end[];
extern const char steadyrun_asset_icon_begin[];
extern const char steadyrun_asset_icon_end[];
}

namespace steadyrun {
namespace {

std::string_view Between(const char* begin, const char* end) {
  return {begin, static_cast<std::size_t>(end - begin)};
}

}  // namespace

std::optional<Asset> FindAsset(std::string_view path) {
  if (path == "/" || path == "/index.html") {
    return Asset{
        "text/html; charset=utf-8",
        Between(steadyrun_asset_index_begin, steadyrun_asset_index_end)};
  }
  if (path == "/app.js") {
    return Asset{"text/javascript; charset=utf-8",
                 Between(steadyrun_asset_app_begin, steadyrun_asset_app_end)};
  }
  if (path == "/style.css") {
    return Asset{"text/css; charset=utf-8", Between(steadyrun_asset_style_begin,
                                                    steadyrun_asset_style_end)};
  }
  if (path == "/icon.svg") {
    return Asset{"image/svg+xml",
                 Between(steadyrun_asset_icon_begin, steadyrun_asset_icon_end)};
  }
  return std::nullopt;
}

}  // namespace steadyrun
