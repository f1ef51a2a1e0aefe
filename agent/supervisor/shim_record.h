#pragma once

// The record between a rank's shim and the agent: one small file a rank,
// allocated before the shim starts, so that a full disk cannot keep an exit
// status from being written. Each part has its own block with one writer, is
// written with one pwrite and carries a checksum: a torn write is not there.
//
//   block 0  Launch    by the agent, before the shim starts
//   block 1  Identity  by the shim, when the rank is (not) started
//   block 2  End       by the shim, when the rank has ended and again when
//                      all its descendants have
//   block 3  Report    by the agent, when the exit is durable in the spool
//
// Plain old data and no library: the shim stays tiny.

#include <signal.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace steadyrun::agent {

inline constexpr std::size_t kRecordBlock = 512;
inline constexpr std::size_t kRecordBlocks = 4;
inline constexpr std::uint32_t kRecordMagic = 0x31524853;  // "SHR1"

enum class RecordBlock : std::uint32_t {
  kLaunch = 0,
  kIdentity = 1,
  kEnd = 2,
  kReport = 3,
};

struct LaunchRecord {
  char kernel_boot_id[40];
  char state_uuid[40];
  char run[72];
  std::int64_t attempt;
  std::int32_t rank;
  std::int32_t local_rank;
  char log_format[24];
  char recorder[300];  // Empty: longer than this, or none.
};

enum class StartResult : std::uint32_t {
  kNone = 0,
  kStarted = 1,
  kFailed = 2,  // `error` is the errno of `stage`.
};
enum class StartStage : std::uint32_t {
  kNone = 0,
  kFork = 1,
  kDirectory = 2,
  kExec = 3,
};
struct IdentityRecord {
  std::int32_t shim_pid;
  std::int32_t rank_pid;
  std::uint64_t shim_start_ticks;
  std::uint64_t rank_start_ticks;
  StartResult result;
  StartStage stage;
  std::int32_t error;
  std::uint32_t lost_logs;  // Bit 0 stdout, bit 1 stderr: gone to /dev/null.
};

struct EndRecord {
  std::int32_t wait_status;     // As of waitpid.
  std::uint32_t all_gone;       // 1: every descendant was reaped too.
  std::uint32_t was_ordered;    // 1: ended because the agent ordered it.
  std::int32_t ordered_by_pid;  // Who sent SIGTERM, if somebody did.
  std::int64_t ended_unix_ns;
  std::uint64_t ended_mono_ns;
  std::uint32_t killed;  // Descendants that outlived the rank.
  std::uint32_t reserved;
};

struct ReportRecord {
  std::uint32_t is_reported;
  // 1: no process of this rank exists any more, proved once and for all.
  std::uint32_t is_gone;
};

// The agent's order to end the rank: a real-time signal, since those queue and
// a second order must not be lost behind the first, sent with SI_QUEUE and a
// value of this in the upper half and the grace in milliseconds in the lower.
// SIGTERM from anybody ends the rank at once.
inline int OrderSignal() { return SIGRTMIN + 5; }
inline constexpr std::uint64_t kOrderTag = 0x5352554eull << 32;

inline std::uint32_t RecordChecksum(const void* bytes, std::size_t size) {
  // CRC-32 (IEEE 802.3, reflected), bit by bit: a record is 500 bytes.
  std::uint32_t crc = 0xffffffffu;
  const auto* at = static_cast<const unsigned char*>(bytes);
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= at[i];
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
    }
  }
  return ~crc;
}

// One block: magic, which block, checksum of the body, body.
struct RecordBytes {
  std::uint32_t magic = 0;
  std::uint32_t block = 0;
  std::uint32_t size = 0;
  std::uint32_t checksum = 0;
  unsigned char body[kRecordBlock - 16] = {};
};
static_assert(sizeof(RecordBytes) == kRecordBlock);

template <typename T>
RecordBytes EncodeRecord(RecordBlock block, const T& record) {
  static_assert(sizeof(T) <= sizeof(RecordBytes::body));
  RecordBytes bytes;
  bytes.magic = kRecordMagic;
  bytes.block = static_cast<std::uint32_t>(block);
  bytes.size = sizeof(T);
  std::memcpy(bytes.body, &record, sizeof(T));
  bytes.checksum = RecordChecksum(bytes.body, sizeof(T));
  return bytes;
}

template <typename T>
bool DecodeRecord(RecordBlock block, const RecordBytes& bytes, T* out) {
  if (bytes.magic != kRecordMagic || bytes.size != sizeof(T) ||
      bytes.block != static_cast<std::uint32_t>(block) ||
      bytes.checksum != RecordChecksum(bytes.body, sizeof(T))) {
    return false;
  }
  std::memcpy(out, bytes.body, sizeof(T));
  return true;
}

}  // namespace steadyrun::agent
