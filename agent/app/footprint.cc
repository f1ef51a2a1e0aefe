#include "agent/app/footprint.h"

#include <malloc.h>
#include <sys/mman.h>

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/file.h"

namespace steadyrun::agent {
namespace {

// "start-end r-xp offset device inode path"
void GiveBack(std::string_view line) {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
  const char* const last = line.data() + line.size();
  const auto [dash, error] = std::from_chars(line.data(), last, start, 16);
  if (error != std::errc{} || dash == last || *dash != '-') return;
  const auto [space, error2] = std::from_chars(dash + 1, last, end, 16);
  if (error2 != std::errc{} || last - space < 5) return;
  const std::string_view rights(space + 1, 4);
  // Only what cannot have been written to comes back as it was. Read-only data
  // can: it was relocated.
  if (rights != "r-xp" || line.find('/') == std::string_view::npos) return;
  ::madvise(reinterpret_cast<void*>(start), end - start, MADV_DONTNEED);
}

}  // namespace

void KeepHeapSmall() {
  ::mallopt(M_ARENA_MAX, 2);
  ::mallopt(M_TRIM_THRESHOLD, 128 << 10);
}

void GiveBackCode() {
  ::malloc_trim(0);
  const auto maps = ReadFile("/proc/self/maps", 1 << 20);
  if (!maps.ok()) return;
  std::string_view rest = *maps;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    GiveBack(rest.substr(0, end));
    if (end == std::string_view::npos) return;
    rest.remove_prefix(end + 1);
  }
}

}  // namespace steadyrun::agent
