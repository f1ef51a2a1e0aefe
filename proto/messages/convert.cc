#include "proto/messages/convert.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "base/status_macros.h"
#include "proto/messages/checks.h"
#include "spdlog/fmt/fmt.h"

// What agents send: read strictly. convert_command.cc reads what servers send,
// convert_to.cc writes.

static_assert(std::endian::native == std::endian::little,
              "StepBlock.values is copied as it lies in memory");

namespace steadyrun {

using checks::Bad;
using checks::In;
using checks::InRange;

bool IsValidName(std::string_view name) {
  if (name.empty() || name.size() > 64 || name == "." || name == "..") {
    return false;
  }
  return std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' ||
           c == '_' || c == '-';
  });
}

namespace {

constexpr std::int64_t kMaxSignal = 64;
constexpr std::size_t kMaxLogLines = 20;
constexpr std::size_t kMaxLogLineBytes = 400;
constexpr std::size_t kMaxSignatureBytes = 512;

Duration Millis(std::int64_t ms) { return std::chrono::milliseconds(ms); }

// A phase of a newer agent is one we know no deadline for.
Phase ReadPhase(int number) {
  return number >= 0 && number <= static_cast<int>(Phase::kOther)
             ? static_cast<Phase>(number)
             : Phase::kOther;
}

absl::Status ReadExit(const v1::ExitStatus& proto, ExitStatus* exit) {
  RETURN_IF_ERROR(InRange("exit.code", proto.code(), 0, 255));
  RETURN_IF_ERROR(InRange("exit.signal", proto.signal(), 0, kMaxSignal));
  *exit = {proto.code(), proto.signal()};
  return absl::OkStatus();
}

// What a rank that stands still tells of itself.
absl::Status ReadStandstill(const v1::RankState& proto, RankState* rank) {
  RETURN_IF_ERROR(checks::CountAtMost("collectives", proto.collectives_size(),
                                      kMaxCollectives));
  for (int i = 0; i < proto.collectives_size(); ++i) {
    const v1::CollectivePosition& position = proto.collectives(i);
    RETURN_IF_ERROR(
        checks::In("collectives", i,
                   checks::Text("group", position.group(), kMaxGroupBytes)));
    rank->collectives.push_back({position.group(), position.entered()});
  }
  RETURN_IF_ERROR(
      checks::CountAtMost("stack", proto.stack_size(), kMaxStackFrames));
  for (int i = 0; i < proto.stack_size(); ++i) {
    RETURN_IF_ERROR(checks::In(
        "stack", i, checks::Text("frame", proto.stack(i), kMaxFrameBytes)));
    rank->stack.push_back(proto.stack(i));
  }
  RETURN_IF_ERROR(
      InRange("stack_age_ms", proto.stack_age_ms(), 0, checks::kMaxAgeMs));
  rank->stack_age = Millis(proto.stack_age_ms());
  return absl::OkStatus();
}

absl::Status ReadRank(const v1::RankState& proto, RankState* rank) {
  RETURN_IF_ERROR(InRange("rank", proto.rank(), 0, checks::kMaxRank));
  RETURN_IF_ERROR(
      InRange("local_rank", proto.local_rank(), 0, checks::kMaxRank));
  RETURN_IF_ERROR(InRange("attempt", proto.attempt(), 1, checks::kMaxAttempt));
  RETURN_IF_ERROR(InRange("life", proto.life(), 1, 3));
  RETURN_IF_ERROR(InRange("pid", proto.pid(), 0, INT32_MAX));
  RETURN_IF_ERROR(InRange("step", proto.step(), -1, checks::kMaxStep));
  RETURN_IF_ERROR(
      InRange("phase_age_ms", proto.phase_age_ms(), 0, checks::kMaxAgeMs));
  RETURN_IF_ERROR(InRange("progress_age_ms", proto.progress_age_ms(), 0,
                          checks::kMaxAgeMs));
  RETURN_IF_ERROR(
      InRange("exit_age_ms", proto.exit_age_ms(), 0, checks::kMaxAgeMs));
  RETURN_IF_ERROR(checks::Seconds("cpu_seconds", proto.cpu_seconds()));
  RETURN_IF_ERROR(ReadExit(proto.exit(), &rank->exit));
  RETURN_IF_ERROR(ReadStandstill(proto, rank));
  const std::string& letter = proto.process_state();
  if (letter.size() > 1 ||
      (letter.size() == 1 &&
       !absl::ascii_isalpha(static_cast<unsigned char>(letter[0])))) {
    return Bad("process_state", fmt::format("{} bytes", letter.size()),
               "one letter or nothing");
  }
  rank->rank = {proto.rank()};
  rank->local_rank = proto.local_rank();
  rank->attempt = {proto.attempt()};
  rank->life = static_cast<RankLife>(proto.life());
  rank->pid = proto.pid();
  rank->step = {proto.step()};
  rank->phase = ReadPhase(proto.phase());
  rank->phase_age = Millis(proto.phase_age_ms());
  rank->progress_age = Millis(proto.progress_age_ms());
  rank->phase_seq = proto.phase_seq();
  rank->process_state = letter.empty() ? '\0' : letter[0];
  rank->killed_by_agent = proto.killed_by_agent();
  rank->save_ack_seq = proto.save_ack_seq();
  rank->cpu_seconds = proto.cpu_seconds();
  rank->exit_age = Millis(proto.exit_age_ms());
  return absl::OkStatus();
}

// No rank of an attempt may be claimed twice.
absl::Status CheckRanksAreDistinct(const std::vector<RankState>& ranks) {
  const auto key = [](const RankState& r) {
    return std::pair(r.attempt, r.rank);
  };
  const auto is_not_before = [&](const RankState& a, const RankState& b) {
    return key(a) >= key(b);
  };
  if (std::adjacent_find(ranks.begin(), ranks.end(), is_not_before) ==
      ranks.end()) {
    return absl::OkStatus();  // In order, as agents send them.
  }
  std::vector<std::pair<AttemptId, Rank>> keys;
  keys.reserve(ranks.size());
  for (const RankState& rank : ranks) keys.push_back(key(rank));
  std::sort(keys.begin(), keys.end());
  const auto twice = std::adjacent_find(keys.begin(), keys.end());
  if (twice == keys.end()) return absl::OkStatus();
  return Bad("ranks",
             fmt::format("rank {} of attempt {} twice", twice->second.value,
                         twice->first.value),
             "each at most once");
}

absl::Status ReadNodeRun(const v1::NodeRunState& proto, NodeRunState* run) {
  RETURN_IF_ERROR(checks::Name("run", proto.run()));
  RETURN_IF_ERROR(InRange("floor", proto.floor(), 0, checks::kMaxAttempt));
  RETURN_IF_ERROR(InRange("started", proto.started(), 0, checks::kMaxAttempt));
  RETURN_IF_ERROR(
      checks::CountAtMost("ranks", proto.ranks_size(), kMaxRanksPerNode));
  run->run = proto.run();
  run->floor = {proto.floor()};
  run->started = {proto.started()};
  run->ranks.resize(static_cast<std::size_t>(proto.ranks_size()));
  for (int i = 0; i < proto.ranks_size(); ++i) {
    RankState& rank = run->ranks[static_cast<std::size_t>(i)];
    if (auto status = ReadRank(proto.ranks(i), &rank); !status.ok()) {
      return In("ranks", i, status);
    }
    if (rank.attempt > run->started) {
      return In("ranks", i,
                Bad("attempt", fmt::format("{}", rank.attempt.value),
                    fmt::format("at most started, {}", run->started.value)));
    }
  }
  return CheckRanksAreDistinct(run->ranks);
}

absl::Status ReadNode(const v1::NodeState& proto, NodeState* node) {
  RETURN_IF_ERROR(checks::Name("node", proto.node()));
  RETURN_IF_ERROR(checks::Identifier("boot_id", proto.boot_id()));
  RETURN_IF_ERROR(checks::Identifier("address", proto.address()));
  RETURN_IF_ERROR(InRange("agent_pid", proto.agent_pid(), 0, INT32_MAX));
  RETURN_IF_ERROR(
      InRange("rendezvous_port", proto.rendezvous_port(), 0, 65535));
  RETURN_IF_ERROR(checks::Text("version", proto.version(), 64));
  RETURN_IF_ERROR(
      checks::Text("metrics_address", proto.metrics_address(), 280));
  RETURN_IF_ERROR(
      checks::CountAtMost("runs", proto.runs_size(), kMaxRunsPerNode));
  node->node = proto.node();
  node->boot_id = proto.boot_id();
  node->agent_incarnation = {proto.agent_incarnation()};
  node->agent_pid = proto.agent_pid();
  node->address = proto.address();
  node->rendezvous_port = proto.rendezvous_port();
  node->spool_full = proto.spool_full();
  node->spooled_reports = proto.spooled_reports();
  node->dropped_reports = proto.dropped_reports();
  node->version = proto.version();
  node->metrics_address = proto.metrics_address();
  node->runs.resize(static_cast<std::size_t>(proto.runs_size()));
  for (int i = 0; i < proto.runs_size(); ++i) {
    NodeRunState& run = node->runs[static_cast<std::size_t>(i)];
    if (auto status = ReadNodeRun(proto.runs(i), &run); !status.ok()) {
      return In("runs", i, status);
    }
    for (int j = 0; j < i; ++j) {
      if (node->runs[static_cast<std::size_t>(j)].run != run.run) continue;
      return In("runs", i, Bad("run", run.run + " twice", "each run once"));
    }
  }
  return absl::OkStatus();
}

// '@' as in verl's evaluations, "val-core/gsm8k/acc/mean@1".
bool IsMetricName(std::string_view name) {
  return !name.empty() && name.size() <= 64 &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                  c == '_' || c == '.' || c == '/' || c == '-' || c == '@';
         });
}

absl::Status CheckMetrics(const v1::StepBlock& proto) {
  RETURN_IF_ERROR(
      checks::CountAtMost("names", proto.names_size(), kMaxNamedMetrics));
  RETURN_IF_ERROR(checks::CountAtMost("metrics", proto.metrics_size(),
                                      kMaxMetricsPerBlock));
  for (int i = 0; i < proto.names_size(); ++i) {
    if (!IsMetricName(proto.names(i))) {
      return In("names", i,
                Bad("name", fmt::format("{} bytes", proto.names(i).size()),
                    "[A-Za-z0-9_./@-]{1,64}"));
    }
  }
  const auto named = static_cast<std::uint32_t>(proto.names_size());
  const std::uint32_t* metrics = proto.metrics().data();
  for (int i = 0; i < proto.metrics_size(); ++i) {
    const std::uint32_t metric = metrics[i];
    if (metric == 0 || metric >= kFirstNamedMetric + named) {
      return In("metrics", i,
                Bad("number", fmt::format("{}", metric),
                    fmt::format("1..{}", kFirstNamedMetric + named - 1)));
    }
    // At most 96 of them, and nearly always under ten.
    if (std::find(metrics, metrics + i, metric) != metrics + i) {
      return In(
          "metrics", i,
          Bad("number", fmt::format("{} twice", metric), "each metric once"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckBlockRanks(const v1::StepBlock& proto) {
  const int count = proto.ranks_size();
  if (count == 0) return Bad("ranks", "none", "at least one");
  RETURN_IF_ERROR(checks::CountAtMost("ranks", count, kMaxRanksPerBlock));
  const std::uint32_t* ranks = proto.ranks().data();
  for (int i = 1; i < count; ++i) {
    if (ranks[i] > ranks[i - 1]) [[likely]]
      continue;
    return In("ranks", i,
              Bad("rank", fmt::format("{} after {}", ranks[i], ranks[i - 1]),
                  "ascending order, each rank once"));
  }
  return InRange("ranks", ranks[count - 1], 0, checks::kMaxRank);
}

// The hot path: no allocation per rank, values by one memcpy.
absl::StatusOr<ReportBody> ReadBody(const v1::StepBlock& proto) {
  RETURN_IF_ERROR(checks::Name("run", proto.run()));
  RETURN_IF_ERROR(InRange("attempt", proto.attempt(), 1, checks::kMaxAttempt));
  RETURN_IF_ERROR(InRange("step", proto.step(), 0, checks::kMaxStep));
  RETURN_IF_ERROR(
      InRange("end_unix_ms", proto.end_unix_ms(), 0, checks::kMaxUnixMs));
  RETURN_IF_ERROR(CheckBlockRanks(proto));
  RETURN_IF_ERROR(CheckMetrics(proto));
  const std::size_t count = static_cast<std::size_t>(proto.ranks_size()) *
                            static_cast<std::size_t>(proto.metrics_size());
  if (proto.values().size() != count * sizeof(float)) {
    return Bad("values", fmt::format("{} bytes", proto.values().size()),
               fmt::format("{}: {} metrics of {} ranks as float32",
                           count * sizeof(float), proto.metrics_size(),
                           proto.ranks_size()));
  }
  StepBlock block;
  block.run = proto.run();
  block.attempt = {proto.attempt()};
  block.step = {proto.step()};
  block.ranks.assign(proto.ranks().begin(), proto.ranks().end());
  block.metrics.assign(proto.metrics().begin(), proto.metrics().end());
  block.names.assign(proto.names().begin(), proto.names().end());
  block.values.resize(count);
  if (count != 0) {
    std::memcpy(block.values.data(), proto.values().data(),
                count * sizeof(float));
  }
  block.end_unix_ms = proto.end_unix_ms();
  return ReportBody(std::move(block));
}

// The four fields that name a rank's step; `Proto` has them under these names.
template <typename Proto, typename Value>
absl::Status ReadWhere(const Proto& proto, std::int64_t lowest_step,
                       Value* value) {
  RETURN_IF_ERROR(checks::Name("run", proto.run()));
  RETURN_IF_ERROR(InRange("attempt", proto.attempt(), 1, checks::kMaxAttempt));
  RETURN_IF_ERROR(InRange("rank", proto.rank(), 0, checks::kMaxRank));
  RETURN_IF_ERROR(InRange("step", proto.step(), lowest_step, checks::kMaxStep));
  value->run = proto.run();
  value->attempt = {proto.attempt()};
  value->rank = {proto.rank()};
  value->step = {proto.step()};
  return absl::OkStatus();
}

absl::StatusOr<ReportBody> ReadBody(const v1::RankExited& proto) {
  RankExited exited;
  RETURN_IF_ERROR(ReadWhere(proto, -1, &exited));
  RETURN_IF_ERROR(ReadExit(proto.exit(), &exited.exit));
  RETURN_IF_ERROR(
      InRange("exit_unix_ms", proto.exit_unix_ms(), 0, checks::kMaxUnixMs));
  RETURN_IF_ERROR(checks::Text("error", proto.error(), kMaxTextBytes));
  RETURN_IF_ERROR(
      checks::Text("signature", proto.signature(), kMaxSignatureBytes));
  RETURN_IF_ERROR(checks::CountAtMost(
      "last_log_lines", proto.last_log_lines_size(), kMaxLogLines));
  for (int i = 0; i < proto.last_log_lines_size(); ++i) {
    const auto status =
        checks::Text("line", proto.last_log_lines(i), kMaxLogLineBytes);
    if (!status.ok()) return In("last_log_lines", i, status);
  }
  exited.killed_by_agent = proto.killed_by_agent();
  exited.phase = ReadPhase(proto.phase());
  exited.exit_unix_ms = proto.exit_unix_ms();
  exited.error = proto.error();
  exited.last_log_lines.assign(proto.last_log_lines().begin(),
                               proto.last_log_lines().end());
  exited.is_secondary = proto.is_secondary();
  exited.signature = proto.signature();
  return ReportBody(std::move(exited));
}

absl::StatusOr<ReportBody> ReadBody(const v1::CheckpointShard& proto) {
  ASSIGN_OR_RETURN(CheckpointShard shard, FromProto(proto));
  return ReportBody(std::move(shard));
}

absl::StatusOr<ReportBody> ReadBody(const v1::CheckpointShardBad& proto) {
  CheckpointShardBad bad;
  RETURN_IF_ERROR(ReadWhere(proto, 0, &bad));
  RETURN_IF_ERROR(checks::Path("path", proto.path()));
  RETURN_IF_ERROR(checks::Text("error", proto.error(), kMaxTextBytes));
  bad.path = proto.path();
  bad.error = proto.error();
  return ReportBody(std::move(bad));
}

// An outcome of a newer agent is at least no success.
absl::StatusOr<CommandOutcome> ReadOutcome(int number) {
  if (number < 1) {
    return Bad("outcome", fmt::format("{}", number), "an outcome");
  }
  if (number > static_cast<int>(CommandOutcome::kRefused)) {
    return CommandOutcome::kFailed;
  }
  return static_cast<CommandOutcome>(number);
}

absl::StatusOr<ReportBody> ReadBody(const v1::CommandResult& proto) {
  RETURN_IF_ERROR(checks::Identifier("command_id", proto.command_id()));
  RETURN_IF_ERROR(checks::Name("run", proto.run()));
  RETURN_IF_ERROR(InRange("attempt", proto.attempt(), 0, checks::kMaxAttempt));
  RETURN_IF_ERROR(checks::Text("message", proto.message(), kMaxTextBytes));
  RETURN_IF_ERROR(
      checks::CountAtMost("checks", proto.checks_size(), kMaxRanksPerBlock));
  CommandResult result;
  ASSIGN_OR_RETURN(result.outcome, ReadOutcome(proto.outcome()));
  result.command_id = proto.command_id();
  result.run = proto.run();
  result.attempt = {proto.attempt()};
  result.message = proto.message();
  result.checks.reserve(static_cast<std::size_t>(proto.checks_size()));
  for (int i = 0; i < proto.checks_size(); ++i) {
    const v1::ShardCheck& check = proto.checks(i);
    absl::Status status = InRange("rank", check.rank(), 0, checks::kMaxRank);
    status.Update(checks::Path("path", check.path()));
    status.Update(checks::Text("error", check.error(), kMaxTextBytes));
    if (!status.ok()) return In("checks", i, status);
    result.checks.push_back(
        {{check.rank()}, check.path(), check.ok(), check.error()});
  }
  return ReportBody(std::move(result));
}

absl::StatusOr<ReportBody> ReadBody(const v1::RankFinished& proto) {
  RankFinished finished;
  RETURN_IF_ERROR(ReadWhere(proto, -1, &finished));
  if (!proto.parameters_sha256().empty()) {
    RETURN_IF_ERROR(
        checks::Sha256("parameters_sha256", proto.parameters_sha256()));
  }
  finished.parameters_sha256 = proto.parameters_sha256();
  return ReportBody(std::move(finished));
}

absl::StatusOr<ReportBody> ReadBody(const v1::Gap& proto) {
  RETURN_IF_ERROR(checks::AtLeastOne("from_seq", proto.from_seq()));
  if (proto.to_seq() < proto.from_seq()) {
    return Bad("to_seq", fmt::format("{}", proto.to_seq()),
               fmt::format("from_seq, {}, or more", proto.from_seq()));
  }
  RETURN_IF_ERROR(checks::Text("reason", proto.reason(), kMaxTextBytes));
  return ReportBody(Gap{{proto.from_seq()}, {proto.to_seq()}, proto.reason()});
}

// `name` is the field's, so that an error tells which body was wrong.
template <typename Proto>
absl::StatusOr<Report> ReadReport(const v1::Report& report,
                                  std::string_view name, const Proto& proto) {
  absl::StatusOr<ReportBody> body = ReadBody(proto);
  if (!body.ok()) return In(name, body.status());
  return Report{{report.seq()}, *std::move(body)};
}

}  // namespace

absl::StatusOr<NodeState> FromProto(const v1::NodeState& proto) {
  NodeState node;
  RETURN_IF_ERROR(ReadNode(proto, &node));
  return node;
}

absl::StatusOr<CheckpointShard> FromProto(const v1::CheckpointShard& proto) {
  CheckpointShard shard;
  RETURN_IF_ERROR(ReadWhere(proto, 0, &shard));
  RETURN_IF_ERROR(checks::Path("path", proto.path()));
  RETURN_IF_ERROR(
      InRange("size_bytes", proto.size_bytes(), 0, checks::kMaxBytes));
  RETURN_IF_ERROR(InRange("shards", proto.shards(), 1, checks::kMaxRank + 1));
  RETURN_IF_ERROR(
      InRange("saved_unix_ms", proto.saved_unix_ms(), 0, checks::kMaxUnixMs));
  RETURN_IF_ERROR(checks::Seconds("save_seconds", proto.save_seconds()));
  RETURN_IF_ERROR(checks::Text("error", proto.error(), kMaxTextBytes));
  // Only a shard that could not be read back goes without a digest.
  if (proto.error().empty() || !proto.sha256().empty()) {
    RETURN_IF_ERROR(checks::Sha256("sha256", proto.sha256()));
  }
  shard.path = proto.path();
  shard.size_bytes = proto.size_bytes();
  shard.sha256 = proto.sha256();
  shard.shards = proto.shards();
  shard.saved_unix_ms = proto.saved_unix_ms();
  shard.save_seconds = proto.save_seconds();
  shard.error = proto.error();
  return shard;
}

absl::StatusOr<Report> FromProto(const v1::Report& proto) {
  RETURN_IF_ERROR(checks::AtLeastOne("seq", proto.seq()));
  switch (proto.body_case()) {
    case v1::Report::kSteps:
      return ReadReport(proto, "steps", proto.steps());
    case v1::Report::kExited:
      return ReadReport(proto, "exited", proto.exited());
    case v1::Report::kShard:
      return ReadReport(proto, "shard", proto.shard());
    case v1::Report::kShardBad:
      return ReadReport(proto, "shard_bad", proto.shard_bad());
    case v1::Report::kResult:
      return ReadReport(proto, "result", proto.result());
    case v1::Report::kFinished:
      return ReadReport(proto, "finished", proto.finished());
    case v1::Report::kGap:
      return ReadReport(proto, "gap", proto.gap());
    case v1::Report::BODY_NOT_SET:
      break;
  }
  return Bad("body", "none",
             "one of steps, exited, shard, shard_bad, result, "
             "finished, gap");
}

absl::StatusOr<Hello> FromProto(const v1::Hello& proto) {
  constexpr std::size_t kMaxTokenBytes = 512;
  RETURN_IF_ERROR(InRange("protocol_version", proto.protocol_version(), 1, 1));
  RETURN_IF_ERROR(checks::Text("token", proto.token(), kMaxTokenBytes));
  Hello hello;
  if (auto status = ReadNode(proto.state(), &hello.state); !status.ok()) {
    return In("state", status);
  }
  hello.max_server_epoch = proto.max_server_epoch();
  hello.oldest_seq = {proto.oldest_seq()};
  hello.token = proto.token();
  hello.protocol_version = proto.protocol_version();
  return hello;
}

}  // namespace steadyrun
