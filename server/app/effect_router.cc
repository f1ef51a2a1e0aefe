#include "server/app/effect_router.h"

#include <algorithm>
#include <type_traits>
#include <utility>
#include <variant>

namespace steadyrun {
namespace {

// What server/storage/event_table.h keeps.
bool IsEvent(const Change& change) {
  return std::holds_alternative<Incident>(change) ||
         std::holds_alternative<Decision>(change) ||
         std::holds_alternative<Page>(change) ||
         std::holds_alternative<Mute>(change);
}

}  // namespace

void EffectRouter::Committed(const Outcome& outcome) {
  targets_.metrics->Observe(outcome);
  targets_.feed->Observe(outcome);
  if (std::any_of(outcome.changes.begin(), outcome.changes.end(), IsEvent)) {
    targets_.notifier->Wake();
    targets_.events->Wake();
    targets_.journal->Wake();
  }
}

void EffectRouter::Execute(Effect effect) {
  std::visit(
      [this](auto&& one) {
        using T = std::decay_t<decltype(one)>;
        if constexpr (std::is_same_v<T, ReplyToOperator>) {
          targets_.replies->Execute(one);
        } else if constexpr (std::is_same_v<T, Page>) {
          targets_.pager->Execute(one);
        } else {
          targets_.sessions->Execute(std::move(one));
        }
      },
      std::move(effect));
}

void EffectRouter::Tick(Duration lag) {
  targets_.sessions->Tick();
  targets_.metrics->ObserveTickLag(lag);
}

void EffectRouter::CommitTried(Duration took, bool ok) {
  targets_.metrics->ObserveCommit(took, ok);
}

}  // namespace steadyrun
