#include "agent/supervisor/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "base/file.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

constexpr char kMagic[8] = {'S', 'R', 'S', 'T', 'A', 'T', 'E', '1'};
// Magic, counter, size of the body, checksum of counter, size and body.
constexpr std::size_t kHeaderBytes = 8 + 8 + 8 + 8;
constexpr std::size_t kMaxRuns = 4096;

// CRC-64 (ECMA-182, reflected): a torn or flipped slot passes with 2^-64.
std::uint64_t Checksum(std::string_view bytes) {
  std::uint64_t crc = ~0ull;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ (0xC96C5795D7870F42ull & (0ull - (crc & 1)));
    }
  }
  return ~crc;
}

void PutNumber(std::uint64_t value, std::string* out) {
  for (int i = 0; i < 8; ++i) {
    out->push_back(static_cast<char>(value >> (8 * i)));
  }
}

void PutText(std::string_view text, std::string* out) {
  PutNumber(text.size(), out);
  out->append(text);
}

// Reads what Put* wrote; false once anything does not fit.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  bool Number(std::uint64_t* out) {
    if (rest_.size() < 8) return false;
    *out = 0;
    for (int i = 0; i < 8; ++i) {
      *out |= static_cast<std::uint64_t>(static_cast<unsigned char>(rest_[i]))
              << (8 * i);
    }
    rest_.remove_prefix(8);
    return true;
  }
  bool Signed(std::int64_t* out) {
    std::uint64_t value = 0;
    if (!Number(&value)) return false;
    *out = static_cast<std::int64_t>(value);
    return true;
  }
  bool Text(std::string* out) {
    std::uint64_t size = 0;
    if (!Number(&size) || size > rest_.size()) return false;
    out->assign(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return true;
  }
  bool IsAtEnd() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

std::string EncodeBody(const DurableState& state) {
  std::string body;
  PutText(state.state_uuid, &body);
  PutNumber(state.max_server_epoch, &body);
  PutText(state.server_id, &body);
  PutNumber(state.next_seq.value, &body);
  PutNumber(state.runs.size(), &body);
  for (const DurableRun& run : state.runs) {
    PutText(run.run, &body);
    PutNumber(static_cast<std::uint64_t>(run.floor.value), &body);
    PutNumber(static_cast<std::uint64_t>(run.started.value), &body);
    PutNumber(run.forgotten_epoch, &body);
  }
  return body;
}

std::optional<DurableState> DecodeBody(std::string_view body) {
  Reader reader(body);
  DurableState state;
  std::uint64_t runs = 0;
  if (!reader.Text(&state.state_uuid) ||
      !reader.Number(&state.max_server_epoch) ||
      !reader.Text(&state.server_id) || !reader.Number(&state.next_seq.value) ||
      !reader.Number(&runs) || runs > kMaxRuns) {
    return std::nullopt;
  }
  for (std::uint64_t i = 0; i < runs; ++i) {
    DurableRun run;
    if (!reader.Text(&run.run) || !reader.Signed(&run.floor.value) ||
        !reader.Signed(&run.started.value) ||
        !reader.Number(&run.forgotten_epoch)) {
      return std::nullopt;
    }
    state.runs.push_back(std::move(run));
  }
  if (!reader.IsAtEnd()) return std::nullopt;
  return state;
}

absl::Status SystemError(std::string_view what, const std::string& path,
                         int error) {
  const auto text = fmt::format("cannot {} agent state '{}': {}", what, path,
                                std::strerror(error));
  if (error == ENOSPC || error == EDQUOT) {
    return absl::ResourceExhaustedError(text);
  }
  return absl::UnavailableError(text);
}

}  // namespace

std::string EncodeStateSlot(const StateSlot& slot) {
  const std::string body = EncodeBody(slot.state);
  std::string checked;
  PutNumber(slot.counter, &checked);
  PutNumber(body.size(), &checked);
  checked += body;
  std::string bytes(kMagic, sizeof kMagic);
  bytes.append(checked, 0, 16);
  PutNumber(Checksum(checked), &bytes);
  bytes += body;
  return bytes;
}

std::optional<StateSlot> DecodeStateSlot(std::string_view bytes) {
  if (bytes.size() < kHeaderBytes ||
      bytes.substr(0, sizeof kMagic) !=
          std::string_view(kMagic, sizeof kMagic)) {
    return std::nullopt;
  }
  Reader header(bytes.substr(sizeof kMagic, 24));
  StateSlot slot;
  std::uint64_t size = 0;
  std::uint64_t checksum = 0;
  if (!header.Number(&slot.counter) || !header.Number(&size) ||
      !header.Number(&checksum) || size > bytes.size() - kHeaderBytes) {
    return std::nullopt;
  }
  const std::string_view body = bytes.substr(kHeaderBytes, size);
  std::string checked(bytes.substr(sizeof kMagic, 16));
  checked += body;
  if (Checksum(checked) != checksum) return std::nullopt;
  auto state = DecodeBody(body);
  if (!state) return std::nullopt;
  slot.state = *std::move(state);
  return slot;
}

absl::StatusOr<StateFile> StateFile::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return SystemError("open", path, errno);
  StateFile file(fd, path);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(fmt::format(
        "agent state '{}' is held by another agent; give each agent of this "
        "machine a state directory of its own",
        path));
  }
  // Both slots are allocated for good, so that later writes need no space.
  if (const int error = ::posix_fallocate(fd, 0, 2 * kSlotBytes); error != 0) {
    return SystemError("allocate", path, error);
  }
  file.Load();
  return file;
}

void StateFile::Load() {
  auto bytes = ReadFile(path_, 2 * kSlotBytes);
  if (!bytes.ok()) return;
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string_view slot_bytes =
        std::string_view(*bytes).substr(i * kSlotBytes, kSlotBytes);
    auto slot = DecodeStateSlot(slot_bytes);
    // A slot in the wrong place is not one that we wrote.
    if (!slot || slot->counter % 2 != i || slot->counter <= counter_) continue;
    counter_ = slot->counter;
    loaded_ = std::move(slot->state);
  }
  was_damaged_ =
      !loaded_ && bytes->find_first_not_of('\0') != std::string::npos;
}

absl::Status StateFile::Write(const DurableState& state) {
  const std::string bytes = EncodeStateSlot({counter_ + 1, state});
  if (bytes.size() > kSlotBytes) {
    return absl::ResourceExhaustedError(fmt::format(
        "agent state '{}': {} runs need {} bytes, a slot holds {}; forget runs "
        "that have ended",
        path_, state.runs.size(), bytes.size(), kSlotBytes));
  }
  const auto offset = static_cast<off_t>((counter_ + 1) % 2 * kSlotBytes);
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::pwrite(fd_, bytes.data() + done, bytes.size() - done,
                               offset + static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return SystemError("write", path_, n < 0 ? errno : EIO);
    done += static_cast<std::size_t>(n);
  }
  if (::fdatasync(fd_) != 0) return SystemError("sync", path_, errno);
  ++counter_;
  return absl::OkStatus();
}

StateFile::StateFile(StateFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      counter_(other.counter_),
      loaded_(std::move(other.loaded_)),
      was_damaged_(other.was_damaged_) {}

StateFile& StateFile::operator=(StateFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  std::swap(counter_, other.counter_);
  std::swap(loaded_, other.loaded_);
  std::swap(was_damaged_, other.was_damaged_);
  return *this;
}

StateFile::~StateFile() {
  if (fd_ >= 0) ::close(fd_);  // Gives the lock back.
}

}  // namespace steadyrun::agent
