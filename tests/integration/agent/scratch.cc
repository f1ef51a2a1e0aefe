#include "tests/integration/agent/scratch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

namespace steadyrun::agent {

Scratch::Scratch() {
  std::string name =
      (std::filesystem::temp_directory_path() / "steadyrun-test-XXXXXX")
          .string();
  std::vector<char> buffer(name.begin(), name.end());
  buffer.push_back('\0');
  path_ = ::mkdtemp(buffer.data());
}

Scratch::~Scratch() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

SmallDisk::SmallDisk(std::size_t bytes) {
  const std::string options = "size=" + std::to_string(bytes);
  is_mounted_ = ::mount("tmpfs", scratch_.path().c_str(), "tmpfs", 0,
                        options.c_str()) == 0;
}

SmallDisk::~SmallDisk() {
  if (is_mounted_) ::umount2(scratch_.path().c_str(), MNT_DETACH);
}

void SmallDisk::Fill() {
  const int fd = ::open((path() + "/filler").c_str(),
                        O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  for (std::size_t size = 64 << 10; size > 0; size /= 2) {
    const std::vector<char> zeros(size);
    while (::write(fd, zeros.data(), size) == static_cast<ssize_t>(size)) {
    }
  }
  ::close(fd);
}

void SmallDisk::Free() { ::unlink((path() + "/filler").c_str()); }

}  // namespace steadyrun::agent
