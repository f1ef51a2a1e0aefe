#include "server/storage/step_codec.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/status_macros.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

// version 1 | columns | world_size, then id and encoding of each column, then
// the columns' bytes.
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 1 + 2 + 4;
constexpr std::size_t kColumnHeaderBytes = 4 + 1;
// Far above any cluster; bounds what damaged bytes can make us allocate.
constexpr std::int32_t kMaxWorld = 1 << 22;

enum Encoding : std::uint8_t { kExact = 0, kConstant = 1, kSeconds = 2 };

template <typename T>
void Append(T value, std::string* out) {
  static_assert(std::endian::native == std::endian::little);
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

template <typename T>
T Read(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

std::uint32_t Bits(float value) { return std::bit_cast<std::uint32_t>(value); }

bool IsTiming(std::uint32_t column) {
  return column == static_cast<std::uint32_t>(Metric::kStepSeconds) ||
         column == static_cast<std::uint32_t>(Metric::kComputeSeconds) ||
         column == static_cast<std::uint32_t>(Metric::kDataSeconds);
}

// A timing's code: the upper bits of the float, counted from 2^-20 s; 0 is
// zero and 65535 absent. False if the value has no code.
constexpr std::uint32_t kDroppedBits = 12;
constexpr std::uint32_t kSmallest = (127 - 20) << 11;
constexpr std::uint16_t kAbsentCode = 0xffff;

bool EncodeSeconds(float value, std::uint16_t* code) {
  const std::uint32_t bits = Bits(value);
  if (bits == 0) {
    *code = 0;
    return true;
  }
  if (bits == kAbsentBits) {
    *code = kAbsentCode;
    return true;
  }
  // Rounded to nearest. Negative, NaN, infinite: too large as an integer.
  const std::uint32_t upper =
      (bits + (1u << (kDroppedBits - 1))) >> kDroppedBits;
  if ((bits >> 31) != 0 || upper < kSmallest) return false;
  const std::uint32_t above = upper - kSmallest + 1;
  if (above >= kAbsentCode) return false;
  *code = static_cast<std::uint16_t>(above);
  return true;
}

float DecodeSeconds(std::uint16_t code) {
  if (code == 0) return 0.0f;
  if (code == kAbsentCode) return AbsentValue();
  return std::bit_cast<float>((code - 1u + kSmallest) << kDroppedBits);
}

bool IsConstant(const float* values, std::size_t count) {
  return count > 0 &&
         std::memcmp(values, values + 1, (count - 1) * sizeof(float)) == 0;
}

Encoding AppendColumn(std::uint32_t column, const float* values,
                      std::size_t count, std::string* out) {
  if (IsConstant(values, count)) {
    Append(values[0], out);
    return kConstant;
  }
  const std::size_t begin = out->size();
  if (IsTiming(column)) {
    out->resize(begin + count * sizeof(std::uint16_t));
    char* at = out->data() + begin;
    std::size_t i = 0;
    for (std::uint16_t code; i < count && EncodeSeconds(values[i], &code);
         ++i) {
      std::memcpy(at + i * sizeof(code), &code, sizeof(code));
    }
    if (i == count) return kSeconds;
    out->resize(begin);
  }
  out->append(reinterpret_cast<const char*>(values), count * sizeof(float));
  return kExact;
}

std::size_t ColumnBytes(std::uint8_t encoding, std::size_t world_size) {
  if (encoding == kConstant) return sizeof(float);
  return world_size *
         (encoding == kSeconds ? sizeof(std::uint16_t) : sizeof(float));
}

float ValueAt(std::uint8_t encoding, const char* column, std::size_t rank) {
  switch (encoding) {
    case kConstant:
      return Read<float>(column);
    case kSeconds:
      return DecodeSeconds(Read<std::uint16_t>(column + rank * 2));
    default:
      return Read<float>(column + rank * 4);
  }
}

// All ranks of a column, in a loop without a question for each.
void ReadColumn(std::uint8_t encoding, const char* column, std::size_t count,
                float* values) {
  if (count == 0) return;
  if (encoding == kConstant) {
    std::fill_n(values, count, Read<float>(column));
  } else if (encoding == kSeconds) {
    for (std::size_t rank = 0; rank < count; ++rank) {
      values[rank] = DecodeSeconds(Read<std::uint16_t>(column + rank * 2));
    }
  } else {
    std::memcpy(values, column, count * sizeof(float));
  }
}

struct Layout {
  std::int32_t world_size = 0;
  std::size_t columns = 0;

  std::uint32_t Id(std::string_view bytes, std::size_t column) const {
    return Read<std::uint32_t>(bytes.data() + kHeaderBytes +
                               column * kColumnHeaderBytes);
  }
  std::uint8_t Encoding(std::string_view bytes, std::size_t column) const {
    return static_cast<std::uint8_t>(
        bytes[kHeaderBytes + column * kColumnHeaderBytes + 4]);
  }
  std::size_t BodyOffset() const {
    return kHeaderBytes + columns * kColumnHeaderBytes;
  }
};

// Checks that every column lies within the bytes.
absl::StatusOr<Layout> ReadLayout(std::string_view bytes) {
  const auto damaged = [&](std::string_view what) {
    return absl::DataLossError(
        fmt::format("stored step of {} bytes: {}", bytes.size(), what));
  };
  if (bytes.size() < kHeaderBytes) return damaged("shorter than its header");
  if (static_cast<std::uint8_t>(bytes[0]) != kVersion) {
    return damaged(fmt::format("version {}, expected {}",
                               static_cast<int>(bytes[0]), kVersion));
  }
  Layout layout;
  layout.columns = Read<std::uint16_t>(bytes.data() + 1);
  layout.world_size = Read<std::int32_t>(bytes.data() + 3);
  if (layout.world_size < 0 || layout.world_size > kMaxWorld) {
    return damaged(fmt::format("{} ranks", layout.world_size));
  }
  if (bytes.size() < layout.BodyOffset()) return damaged("cut in its header");
  std::size_t end = layout.BodyOffset();
  for (std::size_t c = 0; c < layout.columns; ++c) {
    if (layout.Encoding(bytes, c) > kSeconds) return damaged("bad encoding");
    end += ColumnBytes(layout.Encoding(bytes, c),
                       static_cast<std::size_t>(layout.world_size));
  }
  if (end != bytes.size()) return damaged(fmt::format("expected {}", end));
  return layout;
}

}  // namespace

void EncodeStep(const StepRow& row, const std::vector<std::uint32_t>& columns,
                std::string* out) {
  const auto world = static_cast<std::size_t>(row.world_size);
  SR_CHECK(columns.size() == row.metrics.size());
  SR_CHECK(row.values.size() == columns.size() * world);
  out->clear();
  Append(kVersion, out);
  Append(static_cast<std::uint16_t>(columns.size()), out);
  Append(row.world_size, out);
  for (const std::uint32_t column : columns) {
    Append(column, out);
    Append(static_cast<std::uint8_t>(kExact), out);
  }
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const Encoding encoding =
        AppendColumn(columns[c], row.values.data() + c * world, world, out);
    (*out)[kHeaderBytes + c * kColumnHeaderBytes + 4] =
        static_cast<char>(encoding);
  }
}

absl::StatusOr<PackedStep> DecodeStep(std::string_view bytes) {
  ASSIGN_OR_RETURN(const Layout layout, ReadLayout(bytes));
  PackedStep step;
  step.world_size = layout.world_size;
  const auto world = static_cast<std::size_t>(layout.world_size);
  step.values.resize(layout.columns * world);
  const char* body = bytes.data() + layout.BodyOffset();
  for (std::size_t c = 0; c < layout.columns; ++c) {
    const std::uint8_t encoding = layout.Encoding(bytes, c);
    step.columns.push_back(layout.Id(bytes, c));
    ReadColumn(encoding, body, world, step.values.data() + c * world);
    body += ColumnBytes(encoding, world);
  }
  return step;
}

absl::StatusOr<float> DecodeValue(std::string_view bytes, std::uint32_t column,
                                  std::int32_t rank) {
  ASSIGN_OR_RETURN(const Layout layout, ReadLayout(bytes));
  if (rank < 0 || rank >= layout.world_size) return AbsentValue();
  const char* body = bytes.data() + layout.BodyOffset();
  for (std::size_t c = 0; c < layout.columns; ++c) {
    const std::uint8_t encoding = layout.Encoding(bytes, c);
    if (layout.Id(bytes, c) == column) {
      return ValueAt(encoding, body, static_cast<std::size_t>(rank));
    }
    body += ColumnBytes(encoding, static_cast<std::size_t>(layout.world_size));
  }
  return AbsentValue();
}

absl::Status DecodeColumn(std::string_view bytes, std::uint32_t column,
                          std::vector<float>* values) {
  values->clear();
  ASSIGN_OR_RETURN(const Layout layout, ReadLayout(bytes));
  const auto world = static_cast<std::size_t>(layout.world_size);
  const char* body = bytes.data() + layout.BodyOffset();
  for (std::size_t c = 0; c < layout.columns; ++c) {
    const std::uint8_t encoding = layout.Encoding(bytes, c);
    if (layout.Id(bytes, c) == column) {
      values->resize(world);
      ReadColumn(encoding, body, world, values->data());
      return absl::OkStatus();
    }
    body += ColumnBytes(encoding, world);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::uint32_t>> DecodeColumnIds(
    std::string_view bytes) {
  ASSIGN_OR_RETURN(const Layout layout, ReadLayout(bytes));
  std::vector<std::uint32_t> ids;
  for (std::size_t c = 0; c < layout.columns; ++c) {
    ids.push_back(layout.Id(bytes, c));
  }
  return ids;
}

}  // namespace steadyrun
