#include "agent/recorder/recorder_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstring>
#include <utility>

#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

constexpr std::uint32_t kMinSteps = 8;
constexpr std::uint32_t kMaxSteps = 65536;  // 16 MiB a rank.

bool IsGoodRing(std::uint32_t step_count) {
  return std::has_single_bit(step_count) && step_count >= kMinSteps &&
         step_count <= kMaxSteps;
}

absl::Status IoError(std::string_view what, const std::string& path,
                     int error) {
  const auto text = fmt::format("cannot {} flight recorder '{}': {}", what,
                                path, std::strerror(error));
  if (error == ENOSPC || error == EDQUOT) {
    return absl::ResourceExhaustedError(
        text + "; free some space there or set another recorder directory");
  }
  if (error == EEXIST) return absl::AlreadyExistsError(text);
  if (error == ENOENT) return absl::NotFoundError(text);
  return absl::UnavailableError(text);
}

bool WriteAt(int fd, std::uint64_t offset, const void* bytes,
             std::size_t size) {
  const char* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t n = ::pwrite(fd, at, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    offset += static_cast<std::uint64_t>(n);
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '/' || c == '-';
}

}  // namespace

std::uint64_t RecorderBytes(std::uint32_t step_count) {
  return SRUN_STEPS_OFFSET +
         static_cast<std::uint64_t>(step_count) * SRUN_STEP_BYTES;
}

absl::Status CreateRecorder(const std::string& path, const RecorderSpec& spec) {
  if (!IsGoodRing(spec.step_count)) {
    return absl::InvalidArgumentError(fmt::format(
        "flight recorder '{}': {} step slots; expected a power of two from {} "
        "to {}",
        path, spec.step_count, kMinSteps, kMaxSteps));
  }
  const int fd =
      ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return IoError("create", path, errno);

  srun_header header{};
  header.magic = SRUN_RECORDER_MAGIC;
  header.version = SRUN_RECORDER_VERSION;
  header.step_count = spec.step_count;
  header.attempt = spec.attempt.value;
  header.incarnation = spec.incarnation.value;
  header.rank = spec.rank.value;
  header.local_rank = spec.local_rank;
  header.world_size = spec.world_size;
  const std::size_t name = std::min(spec.run.size(), sizeof(header.run) - 1);
  std::memcpy(header.run, spec.run.data(), name);
  srun_writer writer{};
  writer.step = kNoStep.value;
  writer.phase = 1;  // Startup, before any code of ours runs in the rank.
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  writer.progress_mono_ns =
      static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
      static_cast<std::uint64_t>(now.tv_nsec);
  writer.phase_mono_ns = writer.progress_mono_ns;

  const auto size = static_cast<off_t>(RecorderBytes(spec.step_count));
  int error = ::posix_fallocate(fd, 0, size);
  if (error == 0 && (!WriteAt(fd, SRUN_WRITER_OFFSET, &writer, sizeof writer) ||
                     !WriteAt(fd, 0, &header, sizeof header))) {
    error = errno;
  }
  ::close(fd);
  if (error != 0) {
    ::unlink(path.c_str());
    return IoError("allocate", path, error);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> CreateRecorderInFirst(
    const std::vector<std::string>& paths, const RecorderSpec& spec) {
  absl::Status status =
      absl::InvalidArgumentError("no place for flight recorders is configured");
  for (const std::string& path : paths) {
    status = CreateRecorder(path, spec);
    if (status.ok()) return path;
  }
  return status;
}

absl::StatusOr<RecorderFile> RecorderFile::Open(const std::string& path,
                                                const RecorderSpec& expected) {
  // O_NOFOLLOW and the type check: the name lies where the trainer may write.
  const int fd = ::open(
      path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return IoError("open", path, errno);
  RecorderFile file(fd, path, 0);
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(
        fmt::format("flight recorder '{}' is not a regular file", path));
  }
  srun_header header{};
  if (!file.ReadAt(0, &header, sizeof header) ||
      header.magic != SRUN_RECORDER_MAGIC ||
      header.version != SRUN_RECORDER_VERSION ||
      !IsGoodRing(header.step_count) ||
      static_cast<std::uint64_t>(info.st_size) <
          RecorderBytes(header.step_count)) {
    return absl::InvalidArgumentError(fmt::format(
        "'{}' is not a flight recorder of version {}: found {} bytes, magic "
        "{:#x}, version {}; remove it, the agent makes a new one at the next "
        "start of the rank",
        path, SRUN_RECORDER_VERSION, info.st_size, header.magic,
        header.version));
  }
  header.run[sizeof(header.run) - 1] = '\0';
  if (expected.run != header.run || expected.attempt.value != header.attempt ||
      expected.rank.value != header.rank) {
    return absl::InvalidArgumentError(fmt::format(
        "flight recorder '{}' is of run '{}' attempt {} rank {}; expected run "
        "'{}' attempt {} rank {}",
        path, header.run, header.attempt, header.rank, expected.run,
        expected.attempt.value, expected.rank.value));
  }
  file.step_count_ = header.step_count;
  return file;
}

RecorderFile::RecorderFile(RecorderFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      step_count_(other.step_count_) {}

RecorderFile& RecorderFile::operator=(RecorderFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  std::swap(step_count_, other.step_count_);
  return *this;
}

RecorderFile::~RecorderFile() {
  if (fd_ >= 0) ::close(fd_);
}

bool RecorderFile::ReadAt(std::uint64_t offset, void* out,
                          std::size_t bytes) const {
  ssize_t n = 0;
  do {
    n = ::pread(fd_, out, bytes, static_cast<off_t>(offset));
  } while (n < 0 && errno == EINTR);
  // Orders this copy before whatever is read next (publication protocol).
  std::atomic_thread_fence(std::memory_order_acquire);
  return n == static_cast<ssize_t>(bytes);
}

bool RecorderFile::ReadWriter(srun_writer* out) const {
  return ReadAt(SRUN_WRITER_OFFSET, out, sizeof *out);
}

bool RecorderFile::ReadStandstill(srun_standstill* out) const {
  // Apart from the copy on both sides of it, as in ReadStep().
  std::uint64_t before = 0;
  std::uint64_t after = 0;
  if (!ReadAt(SRUN_STANDSTILL_OFFSET, &before, sizeof before) ||
      !ReadAt(SRUN_STANDSTILL_OFFSET, out, sizeof *out) ||
      !ReadAt(SRUN_STANDSTILL_OFFSET, &after, sizeof after)) {
    return false;
  }
  if (before != after || out->seq != before) out->seq = 0;
  return true;
}

bool RecorderFile::ReadStep(std::uint64_t number, srun_step* out) const {
  const std::uint64_t offset =
      SRUN_STEPS_OFFSET + (number & (step_count_ - 1)) * SRUN_STEP_BYTES;
  std::uint64_t before = 0;
  std::uint64_t after = 0;
  // The sequence is read apart from the copy on both sides of it, since one
  // pread does not say in which order it copies.
  return ReadAt(offset, &before, sizeof before) && before == number + 1 &&
         ReadAt(offset, out, sizeof *out) &&
         ReadAt(offset, &after, sizeof after) && after == number + 1 &&
         out->seq == number + 1;
}

bool RecorderFile::ReadEvent(std::uint64_t number, srun_event* out) const {
  const std::uint64_t offset =
      SRUN_EVENTS_OFFSET + (number % SRUN_EVENT_COUNT) * SRUN_EVENT_BYTES;
  std::uint64_t before = 0;
  std::uint64_t after = 0;
  return ReadAt(offset, &before, sizeof before) && before == number + 1 &&
         ReadAt(offset, out, sizeof *out) &&
         ReadAt(offset, &after, sizeof after) && after == number + 1 &&
         out->seq == number + 1;
}

std::string RecorderFile::ReadName(std::uint32_t index) const {
  char name[SRUN_NAME_BYTES];
  if (index >= SRUN_NAME_COUNT ||
      !ReadAt(SRUN_NAMES_OFFSET + index * SRUN_NAME_BYTES, name, sizeof name)) {
    return "";
  }
  const std::size_t size = ::strnlen(name, sizeof name);
  for (std::size_t i = 0; i < size; ++i) {
    if (!IsNameByte(name[i])) return "";
  }
  return std::string(name, size);
}

bool RecorderFile::ReadCommand(srun_command* out) const {
  return ReadAt(SRUN_COMMAND_OFFSET, out, sizeof *out);
}

absl::Status RecorderFile::WriteCommand(const srun_command& command) const {
  // Zero first: a trainer that reads the old sequence before and after its
  // copy cannot have seen a mixture of two commands.
  const std::uint64_t none = 0;
  srun_command body = command;
  body.seq = none;
  bool is_written = WriteAt(fd_, SRUN_COMMAND_OFFSET, &none, sizeof none);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  is_written =
      is_written && WriteAt(fd_, SRUN_COMMAND_OFFSET, &body, sizeof body);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  is_written = is_written && WriteAt(fd_, SRUN_COMMAND_OFFSET, &command.seq,
                                     sizeof command.seq);
  if (!is_written) return IoError("write a command to", path_, errno);
  return absl::OkStatus();
}

void RecorderFile::WriteLook(std::uint64_t agent_mono_ns) const {
  // Nothing depends on it, so a failure is not worth a word.
  (void)WriteAt(fd_,
                SRUN_COMMAND_OFFSET + offsetof(srun_command, agent_mono_ns),
                &agent_mono_ns, sizeof agent_mono_ns);
}

}  // namespace steadyrun::agent
