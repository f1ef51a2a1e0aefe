#pragma once

#include "server/app/engine_loop.h"
#include "server/metrics/server_metrics.h"
#include "server/notify/notifier.h"
#include "server/notify/pager.h"
#include "server/rpc/event_watch.h"
#include "server/rpc/pending_replies.h"
#include "server/rpc/session_registry.h"
#include "server/web/journal_feed.h"
#include "server/web/live_feed.h"

namespace steadyrun {

// Hands each effect to the adapter that carries it out. Engine's thread.
class EffectRouter final : public EffectSink {
 public:
  // All outlive the loop that calls this, and are set before it starts.
  struct Targets {
    SessionRegistry* sessions = nullptr;
    PendingReplies* replies = nullptr;
    Pager* pager = nullptr;
    ServerMetrics* metrics = nullptr;
    LiveFeed* feed = nullptr;
    Notifier* notifier = nullptr;
    EventWatch* events = nullptr;
    JournalFeed* journal = nullptr;
  };
  void SetTargets(const Targets& targets) { targets_ = targets; }
  void SetJournal(JournalFeed* journal) { targets_.journal = journal; }

  void Committed(const Outcome& outcome) override;
  void Execute(Effect effect) override;
  void Tick(Duration lag) override;
  void CommitTried(Duration took, bool ok) override;

 private:
  Targets targets_;
};

}  // namespace steadyrun
