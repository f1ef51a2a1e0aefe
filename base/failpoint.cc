#include "base/failpoint.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>

namespace steadyrun {
namespace {

struct Armed {
  std::string name;
  std::atomic<int> hits_left{0};
  Armed() {
    const char* text = std::getenv("STEADYRUN_FAILPOINT");
    if (text == nullptr) return;
    name = text;
    hits_left = 1;
    if (const auto colon = name.rfind(':'); colon != std::string::npos) {
      hits_left = std::atoi(name.c_str() + colon + 1);
      name.resize(colon);
    }
  }
};

}  // namespace

void Failpoint(std::string_view name) {
  static Armed armed;
  if (armed.name.empty() || armed.name != name) [[likely]]
    return;
  if (armed.hits_left.fetch_sub(1) == 1) ::kill(::getpid(), SIGKILL);
}

}  // namespace steadyrun
