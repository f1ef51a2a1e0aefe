#include "base/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "base/check.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

using Context = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;

Context NewContext() {
  Context context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  SR_CHECK(context != nullptr);
  SR_CHECK(EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1);
  return context;
}

std::string FinishHex(EVP_MD_CTX* context) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  SR_CHECK(EVP_DigestFinal_ex(context, digest.data(), &length) == 1);
  std::string hex;
  for (unsigned int i = 0; i < length; ++i) {
    hex += fmt::format("{:02x}", digest[i]);
  }
  return hex;
}

}  // namespace

std::string Sha256Hex(std::string_view bytes) {
  const Context context = NewContext();
  SR_CHECK(EVP_DigestUpdate(context.get(), bytes.data(), bytes.size()) == 1);
  return FinishHex(context.get());
}

absl::StatusOr<FileDigest> Sha256File(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    const auto text =
        fmt::format("cannot open '{}': {}", path, std::strerror(errno));
    if (errno == ENOENT) return absl::NotFoundError(text);
    return absl::UnavailableError(text);
  }
  const Context context = NewContext();
  std::vector<char> buffer(1 << 20);
  FileDigest result;
  for (;;) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const auto text =
          fmt::format("cannot read '{}': {}", path, std::strerror(errno));
      ::close(fd);
      return absl::UnavailableError(text);
    }
    if (n == 0) break;
    SR_CHECK(EVP_DigestUpdate(context.get(), buffer.data(),
                              static_cast<std::size_t>(n)) == 1);
    result.size_bytes += n;
  }
  ::close(fd);
  result.sha256 = FinishHex(context.get());
  return result;
}

std::uint64_t RandomU64() {
  std::uint64_t value = 0;
  SR_CHECK(::getrandom(&value, sizeof(value), 0) ==
           static_cast<ssize_t>(sizeof(value)));
  return value;
}

std::string RandomHex64() { return fmt::format("{:016x}", RandomU64()); }

}  // namespace steadyrun
