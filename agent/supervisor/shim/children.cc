#include "agent/supervisor/shim/children.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace steadyrun::agent {
namespace {

// One more than the bytes read is zero. -1 on errors.
ssize_t ReadSmallFile(const char* path, char* buffer, std::size_t size) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  const ssize_t n = ::read(fd, buffer, size - 1);
  ::close(fd);
  if (n >= 0) buffer[n] = '\0';
  return n;
}

// The field of that number (proc(5)) of a stat line; null if there is none.
const char* StatField(const char* text, int number) {
  const char* at = ::strrchr(text, ')');
  if (at == nullptr) return nullptr;
  ++at;
  for (int field = 2; field < number; ++field) {
    at = ::strchr(at, ' ');
    if (at == nullptr) return nullptr;
    ++at;
    if (field == 2) continue;
  }
  return at;
}

bool StatOf(int pid, char* buffer, std::size_t size) {
  char path[64];
  ::snprintf(path, sizeof path, "/proc/%d/stat", pid);
  return ReadSmallFile(path, buffer, size) > 0;
}

// For kernels without /proc/<pid>/task/<tid>/children.
int KillChildrenByScan() {
  DIR* directory = ::opendir("/proc");
  if (directory == nullptr) return 0;
  const int self = ::getpid();
  int killed = 0;
  while (const dirent* entry = ::readdir(directory)) {
    const int pid = ::atoi(entry->d_name);
    char stat[1024];
    if (pid <= 0 || !StatOf(pid, stat, sizeof stat)) continue;
    const char* parent = StatField(stat, 4);
    if (parent == nullptr || ::atoi(parent) != self) continue;
    const char* state = StatField(stat, 3);
    if (state != nullptr && *state == 'Z') continue;
    if (::kill(pid, SIGKILL) == 0) ++killed;
  }
  ::closedir(directory);
  return killed;
}

}  // namespace

int KillChildren() {
  char path[64];
  ::snprintf(path, sizeof path, "/proc/self/task/%d/children", ::getpid());
  static char children[65536];  // Ten thousand; the rest at the next call.
  if (ReadSmallFile(path, children, sizeof children) < 0) {
    return KillChildrenByScan();
  }
  int killed = 0;
  char* at = children;
  for (;;) {
    char* end = nullptr;
    const long pid = ::strtol(at, &end, 10);
    // A number that the buffer cut off has no blank behind it.
    if (end == at || *end != ' ') break;
    if (pid > 1 && ::kill(static_cast<pid_t>(pid), SIGKILL) == 0) ++killed;
    at = end;
  }
  return killed;
}

std::uint64_t StartTicks(int pid) {
  char stat[1024];
  if (!StatOf(pid, stat, sizeof stat)) return 0;
  const char* start = StatField(stat, 22);
  return start == nullptr ? 0 : ::strtoull(start, nullptr, 10);
}

}  // namespace steadyrun::agent
