#pragma once

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "server/storage/history.h"
#include "steadyrun/v1/operator.pb.h"

namespace steadyrun {

// Another policy over a run's stored history. Reads the rows in pages, each a
// read of its own, on the thread that calls: seconds for a long run, so that
// one runs at a time, and a second caller is told to wait.
class PolicyBacktest {
 public:
  // Rows and values (rows x ranks x metrics) of one request, so that it ends
  // within the patience of who asks. What is beyond is told, and can be asked
  // for from a later attempt.
  static constexpr std::int64_t kMaxRows = 200'000;
  static constexpr std::int64_t kMaxValues = 200'000'000;

  // `history` outlives this.
  explicit PolicyBacktest(History* history) : history_(history) {}

  // INVALID_ARGUMENT: the policy is refused, the message says file, line,
  // column and nearest key. NOT_FOUND: no such run is stored. UNAVAILABLE:
  // another backtest runs.
  absl::Status Run(const v1::BacktestRequest& request,
                   v1::BacktestReply* reply);

 private:
  History* const history_;
  std::atomic<bool> is_busy_ = false;
};

}  // namespace steadyrun
