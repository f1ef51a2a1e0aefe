#include "base/check.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace steadyrun {
namespace {
std::atomic<long> bugs{0};
}  // namespace

void CheckFailed(const char* condition, const char* file, int line,
                 std::string_view message) {
  std::fprintf(stderr, "%s:%d: check failed: %s %.*s\n", file, line, condition,
               static_cast<int>(message.size()), message.data());
  std::abort();
}

void ReportBug(const char* condition, const char* file, int line) {
  // The first ones tell the story; a loop of them must not fill the disk.
  if (bugs.fetch_add(1, std::memory_order_relaxed) < 100) {
    std::fprintf(stderr, "%s:%d: bug: %s\n", file, line, condition);
  }
}

long BugCount() { return bugs.load(std::memory_order_relaxed); }

}  // namespace steadyrun
