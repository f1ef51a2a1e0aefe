#pragma once

// TensorBoard's event files: TFRecord framing, and the few fields of the Event
// message that hold scalars, decoded from the protobuf wire format. By hand,
// since protobuf is not linked here; the field numbers are those of
// tensorflow/core/{util/event,framework/summary,framework/tensor}.proto.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace steadyrun::agent {

// Record by record: uint64 length, masked CRC-32C of it, data, masked CRC-32C
// of the data; little-endian.
class RecordReader {
 public:
  enum class Next {
    kRecord,   // `data` is whole.
    kDamaged,  // The data does not fit its check sum; the next may be good.
    kTorn,     // The file ends within a record: it may still be written.
    kLost,     // A length does not fit its check sum: no way on.
    kEnd,
  };

  explicit RecordReader(std::string_view file) : rest_(file) {}
  Next Read(std::string_view* data);
  std::size_t BytesLeft() const { return rest_.size(); }

 private:
  std::string_view rest_;
};

// A scalar summary, as simple_value or as a tensor of one element.
struct ScalarEvent {
  double wall_time = 0;  // Unix seconds.
  std::int64_t step = 0;
  std::vector<std::pair<std::string, double>> values;  // By tag.
};
// Absent if the bytes are no Event.
std::optional<ScalarEvent> ParseEvent(std::string_view bytes);

// The masked check sum of the framing; for tests that write such files.
std::uint32_t MaskedCrc32c(std::string_view bytes);

}  // namespace steadyrun::agent
