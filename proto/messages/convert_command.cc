// What servers send, read strictly: an agent starts processes from it.

#include <utility>

#include "absl/strings/ascii.h"
#include "base/status_macros.h"
#include "proto/messages/checks.h"
#include "proto/messages/convert.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {

using checks::Bad;
using checks::In;
using checks::InRange;

namespace {

constexpr std::size_t kMaxArguments = 4096;
constexpr std::size_t kMaxArgumentBytes = 128 << 10;  // Linux' own limit.
constexpr std::size_t kMaxEnvironment = 4096;
constexpr std::int64_t kMaxGraceMs = 3'600'000;
constexpr std::int64_t kMaxHeartbeatMs = 600'000;

absl::StatusOr<CommandBody> ReadBody(const v1::Stop& proto) {
  RETURN_IF_ERROR(InRange("grace_ms", proto.grace_ms(), 0, kMaxGraceMs));
  return CommandBody(StopCommand{std::chrono::milliseconds(proto.grace_ms())});
}

bool IsVariableName(std::string_view name) {
  if (name.empty() || absl::ascii_isdigit(static_cast<unsigned char>(name[0])))
    return false;
  for (const char c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_') {
      return false;
    }
  }
  return true;
}

absl::Status CheckProcess(const v1::Start& proto) {
  if (proto.argv_size() == 0) return Bad("argv", "none", "at least one word");
  RETURN_IF_ERROR(
      checks::CountAtMost("argv", proto.argv_size(), kMaxArguments));
  for (int i = 0; i < proto.argv_size(); ++i) {
    const auto status = checks::NoNul("word", proto.argv(i), kMaxArgumentBytes);
    if (!status.ok()) return In("argv", i, status);
  }
  if (proto.argv(0).empty()) return Bad("argv[0]", "''", "a program");
  RETURN_IF_ERROR(checks::NoNul("working_directory", proto.working_directory(),
                                checks::kMaxPathBytes));
  RETURN_IF_ERROR(checks::CountAtMost(
      "environment", static_cast<int>(proto.environment().size()),
      kMaxEnvironment));
  for (const auto& [name, value] : proto.environment()) {
    if (name.size() > checks::kMaxIdBytes || !IsVariableName(name)) {
      return Bad("environment", fmt::format("a name of {} bytes", name.size()),
                 "[A-Za-z_][A-Za-z0-9_]{0,255}");
    }
    RETURN_IF_ERROR(
        checks::NoNul("environment." + name, value, kMaxArgumentBytes));
  }
  return absl::OkStatus();
}

absl::Status CheckWorld(const v1::Start& proto) {
  RETURN_IF_ERROR(
      InRange("world_size", proto.world_size(), 1, checks::kMaxRank + 1));
  RETURN_IF_ERROR(InRange("nodes", proto.nodes(), 1, proto.world_size()));
  RETURN_IF_ERROR(
      InRange("node_rank", proto.node_rank(), 0, proto.nodes() - 1));
  RETURN_IF_ERROR(checks::Identifier("master_address", proto.master_address()));
  RETURN_IF_ERROR(InRange("master_port", proto.master_port(), 1, 65535));
  RETURN_IF_ERROR(checks::NoNul("checkpoint_directory",
                                proto.checkpoint_directory(),
                                checks::kMaxPathBytes));
  RETURN_IF_ERROR(
      InRange("resume_step", proto.resume_step(), -1, checks::kMaxStep));
  RETURN_IF_ERROR(
      InRange("target_steps", proto.target_steps(), 0, checks::kMaxStep));
  RETURN_IF_ERROR(checks::Text("log_format", proto.log_format(), 64));
  return checks::NoNul("log_path", proto.log_path(), checks::kMaxPathBytes);
}

absl::Status ReadRankStarts(const v1::Start& proto,
                            std::vector<RankStart>* ranks) {
  if (proto.ranks_size() == 0) return Bad("ranks", "none", "at least one");
  RETURN_IF_ERROR(
      checks::CountAtMost("ranks", proto.ranks_size(), kMaxRanksPerNode));
  for (int i = 0; i < proto.ranks_size(); ++i) {
    const v1::RankStart& rank = proto.ranks(i);
    absl::Status status =
        InRange("rank", rank.rank(), 0, proto.world_size() - 1);
    status.Update(
        InRange("local_rank", rank.local_rank(), 0, proto.ranks_size() - 1));
    if (!rank.resume_path().empty()) {
      status.Update(checks::Path("resume_path", rank.resume_path()));
    }
    if (i > 0 && rank.rank() <= proto.ranks(i - 1).rank()) {
      status.Update(Bad(
          "rank",
          fmt::format("{} after {}", rank.rank(), proto.ranks(i - 1).rank()),
          "ascending order, each rank once"));
    }
    if (!status.ok()) return In("ranks", i, status);
    ranks->push_back({{rank.rank()}, rank.local_rank(), rank.resume_path()});
  }
  return absl::OkStatus();
}

absl::StatusOr<CommandBody> ReadBody(const v1::Start& proto) {
  RETURN_IF_ERROR(CheckProcess(proto));
  RETURN_IF_ERROR(CheckWorld(proto));
  StartCommand start;
  RETURN_IF_ERROR(ReadRankStarts(proto, &start.ranks));
  start.argv.assign(proto.argv().begin(), proto.argv().end());
  start.working_directory = proto.working_directory();
  start.environment.insert(proto.environment().begin(),
                           proto.environment().end());
  start.world_size = proto.world_size();
  start.node_rank = proto.node_rank();
  start.nodes = proto.nodes();
  start.master_address = proto.master_address();
  start.master_port = proto.master_port();
  start.checkpoint_directory = proto.checkpoint_directory();
  start.resume_step = {proto.resume_step()};
  start.target_steps = proto.target_steps();
  start.log_format = proto.log_format();
  start.log_path = proto.log_path();
  return CommandBody(std::move(start));
}

absl::StatusOr<CommandBody> ReadBody(const v1::Save& proto) {
  RETURN_IF_ERROR(InRange("step", proto.step(), 0, checks::kMaxStep));
  RETURN_IF_ERROR(checks::AtLeastOne("save_seq", proto.save_seq()));
  return CommandBody(
      SaveCommand{{proto.step()}, proto.then_stop(), proto.save_seq()});
}

absl::StatusOr<CommandBody> ReadBody(const v1::Verify& proto) {
  RETURN_IF_ERROR(
      checks::CountAtMost("shards", proto.shards_size(), kMaxRanksPerBlock));
  VerifyCommand verify;
  verify.shards.reserve(static_cast<std::size_t>(proto.shards_size()));
  for (int i = 0; i < proto.shards_size(); ++i) {
    const v1::ShardRef& shard = proto.shards(i);
    absl::Status status = InRange("rank", shard.rank(), 0, checks::kMaxRank);
    status.Update(checks::Path("path", shard.path()));
    status.Update(
        InRange("size_bytes", shard.size_bytes(), 0, checks::kMaxBytes));
    status.Update(checks::Sha256("sha256", shard.sha256()));
    if (!status.ok()) return In("shards", i, status);
    verify.shards.push_back(
        {{shard.rank()}, shard.path(), shard.size_bytes(), shard.sha256()});
  }
  return CommandBody(std::move(verify));
}

absl::StatusOr<CommandBody> ReadCommandBody(const v1::Command& proto) {
  const auto in = [](std::string_view name, absl::StatusOr<CommandBody> body) {
    return body.ok() ? std::move(body)
                     : absl::StatusOr<CommandBody>(In(name, body.status()));
  };
  switch (proto.body_case()) {
    case v1::Command::kStop:
      return in("stop", ReadBody(proto.stop()));
    case v1::Command::kStart:
      return in("start", ReadBody(proto.start()));
    case v1::Command::kSave:
      return in("save", ReadBody(proto.save()));
    case v1::Command::kVerify:
      return in("verify", ReadBody(proto.verify()));
    case v1::Command::kForget:
      return CommandBody(ForgetCommand{});
    case v1::Command::BODY_NOT_SET:
      break;
  }
  return Bad("body", "none", "one of stop, start, save, verify, forget");
}

}  // namespace

absl::StatusOr<Command> FromProto(const v1::Command& proto) {
  RETURN_IF_ERROR(checks::Identifier("command_id", proto.command_id()));
  RETURN_IF_ERROR(checks::AtLeastOne("server_epoch", proto.server_epoch()));
  RETURN_IF_ERROR(checks::Name("run", proto.run()));
  RETURN_IF_ERROR(InRange("attempt", proto.attempt(), 0, checks::kMaxAttempt));
  RETURN_IF_ERROR(checks::Identifier("boot_id", proto.boot_id()));
  Command command;
  ASSIGN_OR_RETURN(command.body, ReadCommandBody(proto));
  command.command_id = proto.command_id();
  command.server_epoch = proto.server_epoch();
  command.run = proto.run();
  command.attempt = {proto.attempt()};
  command.boot_id = proto.boot_id();
  return command;
}

absl::StatusOr<Welcome> FromProto(const v1::Welcome& proto) {
  RETURN_IF_ERROR(checks::AtLeastOne("server_epoch", proto.server_epoch()));
  RETURN_IF_ERROR(checks::Identifier("server_id", proto.server_id()));
  RETURN_IF_ERROR(InRange("heartbeat_interval_ms",
                          proto.heartbeat_interval_ms(), 1, kMaxHeartbeatMs));
  Welcome welcome;
  welcome.server_epoch = proto.server_epoch();
  welcome.server_id = proto.server_id();
  welcome.resume_after = {proto.resume_after_seq()};
  welcome.heartbeat_interval =
      std::chrono::milliseconds(proto.heartbeat_interval_ms());
  return welcome;
}

}  // namespace steadyrun
