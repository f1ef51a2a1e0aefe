#include "server/web/assets.h"

#include <array>

#include "base/digest.h"

#define SR_ASSET(name)                                   \
  extern "C" {                                           \
  extern const char steadyrun_asset_##name##_begin[];    \
  extern const char steadyrun_asset_##name##_end[];      \
  extern const char steadyrun_asset_##name##_gz_begin[]; \
  extern const char steadyrun_asset_##name##_gz_end[];   \
  }
// From assets.S.
SR_ASSET(index)
SR_ASSET(app)
SR_ASSET(style)
SR_ASSET(icon)
#undef SR_ASSET

namespace steadyrun {
namespace {

struct Served {
  std::string_view path;
  Asset asset;
};

Served Make(std::string_view path, std::string_view type, const char* begin,
            const char* end, const char* gz_begin, const char* gz_end) {
  Served served{path, {}};
  served.asset.content_type = type;
  served.asset.bytes = {begin, static_cast<std::size_t>(end - begin)};
  served.asset.gzip = {gz_begin, static_cast<std::size_t>(gz_end - gz_begin)};
  served.asset.etag = "\"" + Sha256Hex(served.asset.bytes).substr(0, 16) + "\"";
  return served;
}

#define SR_MAKE(path, type, name)                                       \
  Make(path, type, steadyrun_asset_##name##_begin,                      \
       steadyrun_asset_##name##_end, steadyrun_asset_##name##_gz_begin, \
       steadyrun_asset_##name##_gz_end)

const std::array<Served, 4>& All() {
  static const auto* const all = new std::array<Served, 4>{
      SR_MAKE("/index.html", "text/html; charset=utf-8", index),
      SR_MAKE("/app.js", "text/javascript; charset=utf-8", app),
      SR_MAKE("/style.css", "text/css; charset=utf-8", style),
      SR_MAKE("/icon.svg", "image/svg+xml", icon),
  };
  return *all;
}
#undef SR_MAKE

}  // namespace

std::optional<Asset> FindAsset(std::string_view path) {
  if (path == "/") path = "/index.html";
  for (const Served& served : All()) {
    if (served.path == path) return served.asset;
  }
  return std::nullopt;
}

HttpResponse AssetResponse(const HttpRequest& request, const Asset& asset) {
  HttpResponse response;
  response.content_type = std::string(asset.content_type);
  response.headers["etag"] = asset.etag;
  response.headers["vary"] = "Accept-Encoding";
  // A name with a version never changes; the page itself is asked for anew.
  response.headers["cache-control"] =
      request.query.count("v") != 0 ? "public, max-age=31536000, immutable"
                                    : "no-cache";
  if (request.Header("if-none-match") == asset.etag) {
    response.status = 304;
    return response;
  }
  if (!asset.gzip.empty() && request.Header("accept-encoding").find("gzip") !=
                                 std::string_view::npos) {
    response.headers["content-encoding"] = "gzip";
    response.body = std::string(asset.gzip);
  } else {
    response.body = std::string(asset.bytes);
  }
  return response;
}

}  // namespace steadyrun
