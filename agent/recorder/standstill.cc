#include "agent/recorder/standstill.h"

#include <string.h>

#include <algorithm>
#include <string>

namespace steadyrun::agent {
namespace {

static_assert(SRUN_GROUP_COUNT <= kMaxCollectives);
static_assert(SRUN_GROUP_BYTES <= kMaxGroupBytes);
static_assert(SRUN_FRAME_COUNT <= kMaxStackFrames);
static_assert(SRUN_FRAME_BYTES <= kMaxFrameBytes);

// Up to the first zero; whatever is no printable ASCII becomes '?'.
std::string PlainText(const char* text, std::size_t most) {
  std::string plain(text, ::strnlen(text, most));
  std::ranges::replace_if(
      plain, [](char c) { return c < ' ' || c > '~'; }, '?');
  return plain;
}

}  // namespace

void TakeStandstill(const srun_standstill& raw, MonoTime now,
                    RankState* state) {
  const auto advanced = static_cast<std::uint64_t>(
      (now - state->progress_age).time_since_epoch().count());
  const bool is_told = raw.seq != 0 && raw.mono_ns >= advanced;
  for (std::uint32_t i = 0; i < SRUN_GROUP_COUNT; ++i) {
    if (i >= raw.groups_used && !is_told) break;
    const srun_position& position = raw.positions[i];
    std::string group = PlainText(position.group, sizeof position.group);
    if (group.empty()) continue;
    state->collectives.push_back({std::move(group), position.entered});
  }
  if (!is_told) return;
  const std::uint32_t frames = std::min(raw.frames, SRUN_FRAME_COUNT);
  for (std::uint32_t i = 0; i < frames; ++i) {
    state->stack.push_back(PlainText(raw.stack[i], sizeof raw.stack[i]));
  }
  const auto taken = static_cast<std::int64_t>(raw.mono_ns);
  state->stack_age =
      std::clamp(Duration(now.time_since_epoch().count() - taken),
                 Duration::zero(), state->progress_age);
}

}  // namespace steadyrun::agent
