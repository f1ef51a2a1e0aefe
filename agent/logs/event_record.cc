#include "agent/logs/event_record.h"

#include <bit>
#include <cstring>

#include "base/crc32c.h"

namespace steadyrun::agent {
namespace {

template <typename T>
T LittleEndian(std::string_view bytes) {
  static_assert(std::endian::native == std::endian::little);
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// One field of a message: its number, and its value as a number or as bytes.
struct Field {
  enum class Type { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
  std::uint32_t number = 0;
  Type type = Type::kVarint;
  std::uint64_t bits = 0;
  std::string_view bytes;

  double AsDouble() const { return std::bit_cast<double>(bits); }
  double AsFloat() const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
  }
};

bool ReadVarint(std::string_view* rest, std::uint64_t* value) {
  *value = 0;
  for (unsigned shift = 0; shift < 64 && !rest->empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(rest->front());
    rest->remove_prefix(1);
    *value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

bool ReadFixed(std::string_view* rest, std::size_t size, std::uint64_t* value) {
  if (rest->size() < size) return false;
  *value = size == 8 ? LittleEndian<std::uint64_t>(*rest)
                     : LittleEndian<std::uint32_t>(*rest);
  rest->remove_prefix(size);
  return true;
}

// Takes the next field off `rest`. False: it is no message.
bool ReadField(std::string_view* rest, Field* field) {
  std::uint64_t key = 0;
  if (!ReadVarint(rest, &key)) return false;
  field->number = static_cast<std::uint32_t>(key >> 3);
  field->type = static_cast<Field::Type>(key & 7);
  switch (field->type) {
    case Field::Type::kVarint:
      return ReadVarint(rest, &field->bits);
    case Field::Type::kFixed64:
      return ReadFixed(rest, 8, &field->bits);
    case Field::Type::kFixed32:
      return ReadFixed(rest, 4, &field->bits);
    case Field::Type::kBytes: {
      std::uint64_t size = 0;
      if (!ReadVarint(rest, &size) || size > rest->size()) return false;
      field->bytes = rest->substr(0, size);
      rest->remove_prefix(size);
      return true;
    }
  }
  return false;  // Groups, which nothing uses any more.
}

// Calls `take(field)` for each. False: no message.
template <typename Take>
bool ForEachField(std::string_view message, Take take) {
  Field field;
  while (!message.empty()) {
    if (!ReadField(&message, &field)) return false;
    take(field);
  }
  return true;
}

double FromHalf(std::uint32_t bits) {
  const std::uint32_t sign = (bits & 0x8000) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1F;
  const std::uint32_t fraction = bits & 0x3FF;
  if (exponent == 0) {  // Zero and subnormal: fraction x 2^-24.
    const double value = static_cast<double>(fraction) / (1 << 24);
    return sign != 0 ? -value : value;
  }
  const std::uint32_t wide = exponent == 0x1F ? 0xFF : exponent + 112;
  return std::bit_cast<float>(sign | (wide << 23) | (fraction << 13));
}
double FromBfloat16(std::uint32_t bits) {
  return std::bit_cast<float>((bits & 0xFFFF) << 16);
}

// DataType of tensorflow/core/framework/types.proto.
enum DataType : std::uint64_t {
  kFloat = 1,
  kDouble = 2,
  kInt32 = 3,
  kInt64 = 9,
  kBfloat16 = 14,
  kHalf = 19,
};

std::optional<double> FromContent(std::uint64_t type, std::string_view bytes) {
  if (type == kFloat && bytes.size() == 4) return LittleEndian<float>(bytes);
  if (type == kDouble && bytes.size() == 8) return LittleEndian<double>(bytes);
  if (type == kInt32 && bytes.size() == 4) {
    return LittleEndian<std::int32_t>(bytes);
  }
  if (type == kInt64 && bytes.size() == 8) {
    return static_cast<double>(LittleEndian<std::int64_t>(bytes));
  }
  if (type == kHalf && bytes.size() == 2) {
    return FromHalf(LittleEndian<std::uint16_t>(bytes));
  }
  if (type == kBfloat16 && bytes.size() == 2) {
    return FromBfloat16(LittleEndian<std::uint16_t>(bytes));
  }
  return std::nullopt;
}

// A *_val field: repeated, packed into bytes or one by one.
std::optional<double> FromValues(std::uint64_t type, Field field) {
  if (field.type == Field::Type::kBytes) {
    std::string_view packed = field.bytes;
    const bool is_good = field.number == 5 ? ReadFixed(&packed, 4, &field.bits)
                         : field.number == 6
                             ? ReadFixed(&packed, 8, &field.bits)
                             : ReadVarint(&packed, &field.bits);
    if (!is_good || !packed.empty()) return std::nullopt;  // Not one element.
  }
  switch (field.number) {
    case 5:
      return field.AsFloat();
    case 6:
      return field.AsDouble();
    case 7:
    case 10:
      return static_cast<double>(static_cast<std::int64_t>(field.bits));
    case 13:
      return type == kBfloat16
                 ? FromBfloat16(static_cast<std::uint32_t>(field.bits))
                 : FromHalf(static_cast<std::uint32_t>(field.bits));
    default:
      return std::nullopt;
  }
}

// TensorProto: dtype = 1, tensor_content = 4, float_val = 5, double_val = 6,
// int_val = 7, int64_val = 10, half_val = 13.
std::optional<double> ParseTensor(std::string_view message) {
  std::uint64_t type = 0;
  std::optional<double> value;
  const bool is_good = ForEachField(message, [&](const Field& field) {
    if (field.number == 1) type = field.bits;
    if (field.number == 4) value = FromContent(type, field.bytes);
    if (field.number >= 5 && field.number <= 13) {
      value = FromValues(type, field);
    }
  });
  return is_good ? value : std::nullopt;
}

// Summary.Value: tag = 1, simple_value = 2, tensor = 8.
void ParseValue(std::string_view message, ScalarEvent* event) {
  std::string tag;
  std::optional<double> value;
  const bool is_good = ForEachField(message, [&](const Field& field) {
    if (field.number == 1) tag = field.bytes;
    if (field.number == 2 && field.type == Field::Type::kFixed32) {
      value = field.AsFloat();
    }
    if (field.number == 8) value = ParseTensor(field.bytes);
  });
  if (is_good && value && !tag.empty()) {
    event->values.emplace_back(std::move(tag), *value);
  }
}

}  // namespace

std::uint32_t MaskedCrc32c(std::string_view bytes) {
  const std::uint32_t crc = Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8;
}

RecordReader::Next RecordReader::Read(std::string_view* data) {
  constexpr std::size_t kHead = 12;
  constexpr std::size_t kFoot = 4;
  if (rest_.empty()) return Next::kEnd;
  if (rest_.size() < kHead) return Next::kTorn;
  const auto size = LittleEndian<std::uint64_t>(rest_);
  if (LittleEndian<std::uint32_t>(rest_.substr(8)) !=
      MaskedCrc32c(rest_.substr(0, 8))) {
    return Next::kLost;
  }
  if (size > rest_.size() - kHead || rest_.size() - kHead - size < kFoot) {
    return Next::kTorn;
  }
  *data = rest_.substr(kHead, size);
  const auto crc = LittleEndian<std::uint32_t>(rest_.substr(kHead + size));
  rest_.remove_prefix(kHead + size + kFoot);
  return crc == MaskedCrc32c(*data) ? Next::kRecord : Next::kDamaged;
}

// Event: wall_time = 1, step = 2, summary = 5; Summary: value = 1.
std::optional<ScalarEvent> ParseEvent(std::string_view bytes) {
  ScalarEvent event;
  bool is_good = true;
  is_good &= ForEachField(bytes, [&](const Field& field) {
    if (field.number == 1) event.wall_time = field.AsDouble();
    if (field.number == 2) event.step = static_cast<std::int64_t>(field.bits);
    if (field.number != 5) return;
    is_good &= ForEachField(field.bytes, [&](const Field& value) {
      if (value.number == 1) ParseValue(value.bytes, &event);
    });
  });
  if (!is_good) return std::nullopt;
  return event;
}

}  // namespace steadyrun::agent
