#pragma once

// From values to the operator's protobuf messages, and requests checked into
// values. Pure.

#include "absl/status/statusor.h"
#include "server/engine/event.h"
#include "server/engine/view.h"
#include "server/model/checkpoint.h"
#include "server/model/incident.h"
#include "server/report/report.h"
#include "server/rpc/backend.h"
#include "server/storage/event_log.h"
#include "server/storage/history.h"
#include "steadyrun/v1/operator.pb.h"

namespace steadyrun {

// INVALID_ARGUMENT names the field. `reply_to` and `actor` are the caller's.
absl::StatusOr<LaunchRequested> ReadLaunch(const v1::LaunchRequest& request);
absl::StatusOr<ActionRequested> ReadAction(const v1::ActionRequest& request);

// Environment variables that look like secrets are shown as "***".
void WriteRun(const RunView& view, v1::RunView* proto);
// What is left to show of a run the engine no longer holds.
RunView ViewOfEnded(const RunState& state);
void WriteNode(const NodeView& view, v1::NodeView* proto);
void WriteIncident(const Incident& incident, v1::Incident* proto);
void WriteCheckpoint(const Checkpoint& checkpoint, v1::Checkpoint* proto);
void WriteEvent(const StoredEvent& event, v1::Event* proto);
void WriteAudit(const StoredAudit& audit, v1::AuditEntry* proto);
void WriteSteps(const std::vector<StepBucket>& buckets, v1::StepSeries* proto);
// With its text and JSON forms.
void WriteReport(const StabilityReport& report, v1::StabilityReport* proto);
void WriteServer(const ServiceStatus& status, std::size_t sessions,
                 v1::ServerInfo* proto);

}  // namespace steadyrun
