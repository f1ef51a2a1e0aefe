#include "server/storage/last_changes.h"

#include <compare>
#include <set>
#include <string_view>
#include <tuple>

namespace steadyrun {
namespace {

// What a change replaces; kind 0: nothing.
struct Key {
  int kind = 0;
  std::string_view name;
  std::string_view detail;
  std::int64_t a = 0;
  std::int64_t b = 0;
  friend auto operator<=>(const Key&, const Key&) = default;
};

Key KeyOf(const Change& change) {
  if (const auto* state = std::get_if<RunState>(&change)) {
    return {1, state->spec.run, {}, 0, 0};
  }
  if (const auto* incident = std::get_if<Incident>(&change)) {
    return {2, incident->run, {}, incident->number, 0};
  }
  if (const auto* checkpoint = std::get_if<Checkpoint>(&change)) {
    return {3,
            checkpoint->run,
            {},
            checkpoint->step.value,
            checkpoint->attempt.value};
  }
  if (const auto* node = std::get_if<NodeRecord>(&change)) {
    return {4, node->node, {}, 0, 0};
  }
  if (const auto* cursor = std::get_if<NodeCursor>(&change)) {
    return {5, cursor->node, cursor->boot_id, 0, 0};
  }
  return {};
}

}  // namespace

LastChanges::LastChanges(std::span<const Change> changes)
    : overwritten_(changes.size(), false) {
  if (changes.size() < 2) return;
  std::set<Key> later;
  for (std::size_t i = changes.size(); i-- > 0;) {
    const Key key = KeyOf(changes[i]);
    if (key.kind != 0) overwritten_[i] = !later.insert(key).second;
  }
}

}  // namespace steadyrun
