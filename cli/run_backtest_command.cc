#include <spdlog/fmt/fmt.h>

#include <chrono>
#include <cstdio>

#include "base/file.h"
#include "base/status_macros.h"
#include "cli/commands.h"
#include "cli/proto_json.h"
#include "cli/run_text.h"

namespace steadyrun::cli {
namespace {

// The server reads at most 200,000 rows a request.
constexpr std::chrono::seconds kPatience(120);

}  // namespace

absl::Status BacktestRun(Context& context, const BacktestOptions& options) {
  if (options.policy_file.empty()) {
    return absl::InvalidArgumentError(
        "--run needs --policy FILE: the policy to try on its history");
  }
  v1::BacktestRequest request;
  request.set_run(options.run);
  request.set_policy_file(options.policy_file);
  request.set_from_attempt(options.from_attempt);
  ASSIGN_OR_RETURN(*request.mutable_policy_toml(),
                   ReadFile(options.policy_file, 1 << 20));
  // Asked first, since it answers at once: no server, or no such run.
  v1::GetRunRequest get;
  get.set_run(options.run);
  v1::RunView run;
  RETURN_IF_ERROR(
      context.client.Call(&v1::OperatorService::Stub::GetRun, get, &run));
  v1::BacktestReply reply;
  RETURN_IF_ERROR(context.client.CallFor(
      kPatience, &v1::OperatorService::Stub::Backtest, request, &reply));
  if (context.output == Output::kJson) {
    std::puts(ToJson(reply)
                  .dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
                  .c_str());
  } else {
    std::fputs(RenderRunBacktest(reply).c_str(), stdout);
  }
  return absl::OkStatus();
}

}  // namespace steadyrun::cli
