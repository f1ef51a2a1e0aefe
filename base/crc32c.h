#pragma once

#include <cstdint>
#include <string_view>

namespace steadyrun {

// CRC-32C (Castagnoli, polynomial 0x1EDC6F41, reflected), as in iSCSI and in
// the record files of TensorFlow.
std::uint32_t Crc32c(std::string_view bytes);

}  // namespace steadyrun
