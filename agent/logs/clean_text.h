#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace steadyrun::agent {

// Text of a training job, made safe to store and show: ANSI sequences and
// control characters removed, invalid UTF-8 replaced by U+FFFD, bidirectional
// overrides and line separators removed, cut at `max_bytes` on a character.
std::string CleanLine(std::string_view line, std::size_t max_bytes);

// Masks what looks like a secret: key=value pairs whose key names a token,
// secret or password, bearer headers, and the well-known prefixes of keys.
std::string MaskSecrets(std::string_view line);

}  // namespace steadyrun::agent
