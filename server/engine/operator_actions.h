#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/engine/cluster_source.h"
#include "server/engine/effect.h"
#include "server/engine/event.h"
#include "server/engine/request_book.h"
#include "server/engine/run_controller.h"

namespace steadyrun {

using RunMap = std::map<RunId, std::unique_ptr<RunController>>;

// What people order. Each request is carried out once, however often it is
// sent, and leaves an audit entry in the same transaction as its effect; a
// refusal leaves one, too.
class OperatorActions {
 public:
  OperatorActions(EngineCore core, RequestBook requests, RunMap* runs)
      : core_(core), requests_(std::move(requests)), runs_(runs) {}

  void Launch(const LaunchRequested& request, Now now, Outcome* out);
  void Act(const ActionRequested& request, Now now, Outcome* out);

 private:
  absl::StatusOr<ReplyToOperator> TryLaunch(const LaunchRequested& request,
                                            Now now, Outcome* out);
  absl::StatusOr<ReplyToOperator> TryAct(const ActionRequested& request,
                                         Now now, Outcome* out);
  void ForgetOldRuns();
  static ReplyToOperator SetMute(const ActionRequested& request, Now now,
                                 Outcome* out);
  absl::StatusOr<ReplyToOperator> SetQuarantine(const ActionRequested& request,
                                                bool is_quarantined);
  // True if the request had been carried out: answered again.
  bool AnswerAgain(const std::string& request_id, std::uint64_t reply_to,
                   Outcome* out) const;
  void Answer(const absl::StatusOr<ReplyToOperator>& result,
              const std::string& request_id, std::uint64_t reply_to,
              AuditEntry entry, Outcome* out);

  EngineCore core_;
  RequestBook requests_;
  RunMap* runs_;
};

}  // namespace steadyrun
