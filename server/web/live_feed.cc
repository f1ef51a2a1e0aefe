#include "server/web/live_feed.h"

#include <pthread.h>

#include <cmath>
#include <utility>
#include <variant>

#include "absl/time/time.h"
#include "nlohmann/json.hpp"

namespace steadyrun {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// JSON has no NaN: null, and the page shows it as NaN.
Json Number(double value) {
  return std::isfinite(value) ? Json(value) : Json();
}

Json RunJson(const RunView& run) {
  return {{"run", run.state.spec.run},
          {"phase", RunPhaseName(run.state.phase)},
          {"attempt", run.state.attempt.value},
          {"step", run.state.attempt_step.value},
          {"max_step", run.state.max_step.value},
          {"loss", Number(run.loss)},
          {"grad_norm", Number(run.grad_norm)},
          {"step_seconds", Number(run.step_seconds)},
          {"tokens_per_second", Number(run.tokens_per_second)},
          {"ranks_alive", run.ranks_alive},
          {"open_incidents", run.open_incidents},
          {"incidents", run.state.incidents},
          {"checkpoint_step", run.checkpoint_step.value},
          {"restarts_left", run.restarts_left},
          {"goodput", Number(run.goodput)},
          {"is_held", run.state.is_held},
          {"hold_reason", run.state.hold_reason},
          {"phase_reason", run.state.phase_reason},
          {"verdict", run.verdict},
          {"why", run.why},
          {"next", run.next}};
}

struct Note {
  RunId run;
  const char* what = nullptr;  // Null: nothing for viewers.
};

Note NoteOf(const Change& change) {
  return std::visit(
      [](const auto& one) -> Note {
        using T = std::decay_t<decltype(one)>;
        if constexpr (std::is_same_v<T, Incident>) {
          return {one.run, "incident"};
        } else if constexpr (std::is_same_v<T, Checkpoint>) {
          return {one.run, "checkpoint"};
        } else if constexpr (std::is_same_v<T, Decision>) {
          return {one.run, "decision"};
        } else if constexpr (std::is_same_v<T, AuditEntry>) {
          return {one.run, "audit"};
        } else if constexpr (std::is_same_v<T, NodeRecord>) {
          return {"", "node"};
        } else if constexpr (std::is_same_v<T, RankFailed>) {
          return {one.exit.run, "exit"};
        } else {
          return {};
        }
      },
      change);
}

}  // namespace

LiveFeed::LiveFeed(const LiveState* live, EventHub* hub)
    : live_(live), hub_(hub), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "sr-live");
}

LiveFeed::~LiveFeed() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void LiveFeed::Observe(const Outcome& outcome) {
  if (hub_->Viewers() == 0) return;
  for (const Change& change : outcome.changes) {
    const Note note = NoteOf(change);
    if (note.what == nullptr) continue;
    absl::MutexLock lock(&mutex_);
    const bool is_full =
        noted_.size() >= kMaxNotedRuns && noted_.count(note.run) == 0;
    noted_[is_full ? "" : note.run].insert(note.what);
  }
}

void LiveFeed::Run() {
  for (;;) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_),
                                  absl::FromChrono(kPeriod))) {
        return;
      }
    }
    if (hub_->Viewers() == 0) {
      said_.clear();
      continue;
    }
    PublishChanged();
    PublishRuns();
  }
}

void LiveFeed::PublishChanged() {
  std::map<std::string, std::set<std::string>> noted;
  {
    absl::MutexLock lock(&mutex_);
    noted.swap(noted_);
  }
  for (const auto& [run, what] : noted) {
    hub_->Publish("changed", Dump({{"run", run}, {"what", what}}));
  }
}

void LiveFeed::PublishRuns() {
  const auto view = live_->View();
  std::map<std::string, std::string> said;
  for (const RunView& run : view->runs) {
    std::string json = Dump(RunJson(run));
    const auto before = said_.find(run.state.spec.run);
    if (before == said_.end() || before->second != json) {
      hub_->Publish("run", json);
    }
    said.emplace(run.state.spec.run, std::move(json));
  }
  said_ = std::move(said);
}

}  // namespace steadyrun
