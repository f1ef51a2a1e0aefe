#pragma once

#include <google/protobuf/message.h>

#include <nlohmann/json.hpp>

namespace steadyrun::cli {

// A protobuf message as JSON for scripts: snake_case names, every field
// present, 64-bit integers as numbers (protobuf's own mapping makes them
// strings), NaN and infinities as null.
nlohmann::ordered_json ToJson(const google::protobuf::Message& message);

}  // namespace steadyrun::cli
