#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/proto_json.h"
#include "cli/table.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::cli {
namespace {

enum class Verdict { kOk, kWarning, kError };

struct Check {
  std::string name;
  Verdict verdict = Verdict::kOk;
  std::string found{};
  std::string fix{};  // Empty when nothing is to be done.
};

std::string_view VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kWarning:
      return "warning";
    case Verdict::kError:
      return "error";
  }
  return "unknown";
}

Check CheckDisk(const std::string& name, const std::string& path) {
  Check check{name};
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0) {
    check.found = fmt::format("{} cannot be looked at from here", path);
    return check;
  }
  const auto free_bytes = static_cast<std::int64_t>(info.f_bavail) *
                          static_cast<std::int64_t>(info.f_frsize);
  check.found = fmt::format("{} free in {}", FormatBytes(free_bytes), path);
  if (free_bytes < (std::int64_t{512} << 20)) {
    check.verdict = Verdict::kWarning;
    check.fix = "free some space: a full disk makes the service hold still";
  }
  return check;
}

Check CheckOpenFiles() {
  Check check{"open files"};
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  check.found = fmt::format("limit {}", limit.rlim_cur);
  if (limit.rlim_cur < 65536) {
    check.verdict = Verdict::kWarning;
    check.fix = "a server of more than 500 nodes needs ulimit -n 65536";
  }
  return check;
}

void CheckServer(Context& context, std::vector<Check>& checks) {
  v1::ServerInfo info;
  const absl::Status status =
      context.client.Call(&v1::OperatorService::Stub::GetServerInfo,
                          v1::GetServerInfoRequest(), &info);
  if (!status.ok()) {
    checks.push_back({"server", Verdict::kError, std::string(status.message()),
                      "start steadyrun-server, or name it with --server"});
    return;
  }
  checks.push_back(
      {"server", Verdict::kOk,
       fmt::format("{} version {}, pid {}, epoch {}", context.client.server(),
                   info.version(), info.pid(), info.server_epoch()),
       ""});
  Check storage{
      "storage", Verdict::kOk,
      fmt::format("{} (schema {})", info.database(), info.schema_version()),
      ""};
  if (!info.storage_ok()) {
    storage.verdict = Verdict::kError;
    storage.found += ": " + info.storage_error();
    storage.fix =
        "free space on that disk; training goes on, but nothing is decided";
  }
  checks.push_back(storage);
  Check queue{"engine queue", Verdict::kOk,
              fmt::format("{} waiting, {} refused since start",
                          info.queue_depth(), info.queue_refused()),
              ""};
  if (info.queue_refused() > 0) {
    queue.verdict = Verdict::kWarning;
    queue.fix = "the server was overloaded; agents resend what was refused";
  }
  checks.push_back(queue);
  for (const v1::NotificationSink& sink : info.notifications()) {
    Check check{"notify " + sink.sink(), Verdict::kOk,
                fmt::format("{} delivered since start", sink.delivered()), ""};
    if (!sink.error().empty()) {
      check.verdict = Verdict::kWarning;
      check.found =
          fmt::format("{} attempts failed, {} refused: {}", sink.failed(),
                      sink.dropped(), Printable(sink.error()));
      check.fix = "see [notify] in server.toml; what is due is tried again";
    }
    checks.push_back(std::move(check));
  }
  v1::ListNodesReply nodes;
  if (!context.client
           .Call(&v1::OperatorService::Stub::ListNodes, v1::ListNodesRequest(),
                 &nodes)
           .ok()) {
    return;
  }
  Check agents{"agents", Verdict::kOk,
               fmt::format("{} known", nodes.nodes_size()), ""};
  if (nodes.nodes().empty()) {
    agents.verdict = Verdict::kWarning;
    agents.fix = "start steadyrun-agent on each node";
  }
  checks.push_back(agents);
  for (const auto& node : nodes.nodes()) {
    const std::string name = "agent " + node.state().node();
    if (node.status() != "connected") {
      checks.push_back(
          {name, Verdict::kError,
           fmt::format("{}, last heard {} ago", node.status(),
                       FormatSeconds(node.heard_age_seconds())),
           "look at the agent's log on that node and at the network between"});
    }
    if (node.state().spool_full()) {
      checks.push_back({name, Verdict::kError, "its spool cannot be written",
                        "free space under its state_dir"});
    }
    if (node.state().version() != info.version()) {
      checks.push_back({name, Verdict::kWarning,
                        fmt::format("version {} beside the server's {}",
                                    node.state().version(), info.version()),
                        "upgrade the agents; training is not touched by it"});
    }
  }
}

}  // namespace

absl::Status Doctor(Context& context) {
  std::vector<Check> checks;
  CheckServer(context, checks);
  checks.push_back(CheckDisk("disk", "."));
  checks.push_back(CheckDisk("shared memory", "/dev/shm"));
  checks.push_back(CheckOpenFiles());
  int errors = 0;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Check& check : checks) {
    if (check.verdict == Verdict::kError) ++errors;
    if (context.output == Output::kJson) {
      list.push_back({{"check", check.name},
                      {"verdict", VerdictName(check.verdict)},
                      {"found", check.found},
                      {"fix", check.fix}});
      continue;
    }
    const Tone tone = check.verdict == Verdict::kOk        ? Tone::kGood
                      : check.verdict == Verdict::kWarning ? Tone::kWarn
                                                           : Tone::kBad;
    std::puts(fmt::format("{:<8} {:<14} {}",
                          Paint(tone, VerdictName(check.verdict)), check.name,
                          Printable(check.found))
                  .c_str());
    if (!check.fix.empty()) {
      std::puts(fmt::format("         {:<14} -> {}", "", check.fix).c_str());
    }
  }
  if (context.output == Output::kJson) std::puts(list.dump(2).c_str());
  if (errors > 0) {
    return absl::FailedPreconditionError(
        fmt::format("{} of {} checks failed", errors, checks.size()));
  }
  return absl::OkStatus();
}

}  // namespace steadyrun::cli
