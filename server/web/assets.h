#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "server/web/http_server.h"

namespace steadyrun {

struct Asset {
  std::string_view content_type;
  std::string_view bytes;
  std::string_view gzip;  // The same, compressed; empty: not there.
  std::string etag;       // Quoted, of the bytes.
};

// The files of the dashboard, which are part of the program.
std::optional<Asset> FindAsset(std::string_view path);

// Compressed if the client takes it; 304 if it has it already.
HttpResponse AssetResponse(const HttpRequest& request, const Asset& asset);

}  // namespace steadyrun
