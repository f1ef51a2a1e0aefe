#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {

// The enumerator in [0, last] that `name_of` calls `name`. DATA_LOSS if none:
// the row is damaged, or of a newer program.
template <typename Enum>
absl::StatusOr<Enum> ParseStoredName(std::string_view name, Enum last,
                                     std::string_view (*name_of)(Enum)) {
  for (int i = 0; i <= static_cast<int>(last); ++i) {
    if (name_of(static_cast<Enum>(i)) == name) return static_cast<Enum>(i);
  }
  return absl::DataLossError(fmt::format(
      "stored word '{}' is unknown to this program; known: {} to {}", name,
      name_of(static_cast<Enum>(0)), name_of(last)));
}

// Bytes of the message `What`, or DATA_LOSS.
template <typename Message>
absl::Status ParseStored(std::string_view bytes, Message* message) {
  if (message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::OkStatus();
  }
  return absl::DataLossError(
      fmt::format("{} stored bytes are no {}", bytes.size(),
                  std::string(Message::descriptor()->name())));
}

}  // namespace steadyrun
