// `steadyrun policy`: what a run, or a file, allows Steadyrun to do by itself.

#include <cstdio>
#include <string>

#include "base/status_macros.h"
#include "cli/commands.h"
#include "cli/policy_file.h"
#include "cli/proto_json.h"
#include "server/policy/policy_text.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::cli {
namespace {

// As GetPolicy answers, so that a script reads the same of a run and a file.
void Print(Output output, const v1::PolicyView& view) {
  if (output == Output::kJson) {
    std::puts(ToJson(view)
                  .dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
                  .c_str());
    return;
  }
  std::fputs(view.toml().c_str(), stdout);
}

}  // namespace

absl::Status ShowPolicy(Context& context, const std::string& run) {
  v1::GetPolicyRequest request;
  request.set_run(run);
  v1::PolicyView view;
  RETURN_IF_ERROR(context.client.Call(&v1::OperatorService::Stub::GetPolicy,
                                      request, &view));
  if (context.output != Output::kJson) {
    std::printf("# The policy of run %s, %s.\n", run.c_str(),
                view.is_default() ? "the default one"
                                  : ("from " + view.file()).c_str());
  }
  Print(context.output, view);
  return absl::OkStatus();
}

absl::Status ShowPolicyFile(Output output, const std::string& file) {
  ASSIGN_OR_RETURN(const Policy policy, ReadPolicy(file));
  v1::PolicyView view;
  view.set_file(file);
  view.set_toml(RenderPolicy(policy));
  view.set_is_default(file.empty());
  Print(output, view);
  return absl::OkStatus();
}

}  // namespace steadyrun::cli
