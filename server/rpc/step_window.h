#pragma once

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "proto/messages/checks.h"

namespace steadyrun {

// `run`, `from_step` and `to_step` (0: to the newest) of a request, as those
// of a query of the store. INVALID_ARGUMENT names the one out of range.
template <typename Request, typename Query>
absl::Status ReadStepWindow(const Request& request, Query* query) {
  RETURN_IF_ERROR(
      checks::InRange("from_step", request.from_step(), 0, checks::kMaxStep));
  RETURN_IF_ERROR(
      checks::InRange("to_step", request.to_step(), 0, checks::kMaxStep));
  query->run = request.run();
  query->from = {request.from_step()};
  if (request.to_step() > 0) query->to = {request.to_step()};
  return absl::OkStatus();
}

}  // namespace steadyrun
