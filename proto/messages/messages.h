#pragma once

// The messages between agents and server as plain C++ values: what pure code
// on both sides speaks. Field meanings, units and clocks are those of
// proto/steadyrun/v1/*.proto, the one source; convert.h maps between the two.

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace steadyrun {

// Same numbers as the proto enum and as the flight recorder's phase word.
enum class Phase : std::uint32_t {
  kUnspecified = 0,
  kStartup = 1,
  kStep = 2,
  kData = 3,
  kForward = 4,
  kBackward = 5,
  kOptimizer = 6,
  kCheckpoint = 7,
  kEvaluation = 8,
  kCompile = 9,
  kRollout = 10,
  kReward = 11,
  kReference = 12,
  kWeightSync = 13,
  kShutdown = 14,
  kOther = 15,
};
std::string_view PhaseName(Phase phase);  // "startup", "step", ...
std::optional<Phase> ParsePhase(std::string_view name);

enum class RankLife { kStarting = 1, kAlive = 2, kExited = 3 };

struct ExitStatus {
  std::int32_t code = 0;
  std::int32_t signal = 0;  // 0: ended by itself.
  friend bool operator==(const ExitStatus&, const ExitStatus&) = default;
};
std::string DescribeExit(const ExitStatus& exit);  // "exit code 1", "SIGKILL"

// How far a rank has come in one communicator's sequence of collectives.
struct CollectivePosition {
  std::string group;
  std::uint64_t entered = 0;
  friend bool operator==(const CollectivePosition&,
                         const CollectivePosition&) = default;
};
inline constexpr std::size_t kMaxCollectives = 8;  // A rank.
inline constexpr std::size_t kMaxGroupBytes = 64;
inline constexpr std::size_t kMaxStackFrames = 16;
inline constexpr std::size_t kMaxFrameBytes = 160;

struct RankState {
  Rank rank = kNoRank;
  std::int32_t local_rank = 0;
  AttemptId attempt;
  RankLife life = RankLife::kStarting;
  std::int32_t pid = 0;
  Step step = kNoStep;
  Phase phase = Phase::kStartup;
  Duration phase_age{};
  Duration progress_age{};
  std::uint64_t phase_seq = 0;
  char process_state = 0;
  ExitStatus exit;
  bool killed_by_agent = false;
  std::uint64_t save_ack_seq = 0;
  double cpu_seconds = 0;
  Duration exit_age{};
  // Of a rank that has not advanced for seconds; see model.proto.
  std::vector<CollectivePosition> collectives;
  std::vector<std::string> stack;  // Innermost frame first.
  Duration stack_age{};
  friend bool operator==(const RankState&, const RankState&) = default;
};

struct NodeRunState {
  RunId run;
  AttemptId floor;
  AttemptId started;
  std::vector<RankState> ranks;
  friend bool operator==(const NodeRunState&, const NodeRunState&) = default;
};

struct NodeState {
  NodeId node;
  std::string boot_id;
  Incarnation agent_incarnation;
  std::int32_t agent_pid = 0;
  std::string address;
  std::int32_t rendezvous_port = 0;
  std::vector<NodeRunState> runs;
  bool spool_full = false;
  std::uint64_t spooled_reports = 0;
  std::uint64_t dropped_reports = 0;
  std::string version;
  std::string metrics_address;  // host:port of its /metrics; empty: none.
  friend bool operator==(const NodeState&, const NodeState&) = default;
};

enum class Metric : std::uint32_t {
  kStepSeconds = 1,
  kLoss = 2,
  kGradNorm = 3,
  kTokens = 4,
  kComputeSeconds = 5,
  kLearningRate = 6,
  kLossScale = 7,
  kDataSeconds = 8,
};
inline constexpr std::uint32_t kFirstNamedMetric = 1000;
inline constexpr std::size_t kMaxNamedMetrics = 64;

// Absent value: a NaN that no computation makes. Compare bits, not values.
inline constexpr std::uint32_t kAbsentBits = 0x7fc0dead;
float AbsentValue();
bool IsAbsent(float value);

struct StepBlock {
  RunId run;
  AttemptId attempt;
  Step step;
  std::vector<std::uint32_t> ranks;    // Ascending.
  std::vector<std::uint32_t> metrics;  // Metric, or 1000 + index in names.
  std::vector<std::string> names;
  std::vector<float> values;  // values[m * ranks.size() + r].
  std::int64_t end_unix_ms = 0;

  // The column of `metric`; empty when the block has none.
  std::span<const float> Column(Metric metric) const;
};

struct RankExited {
  RunId run;
  AttemptId attempt;
  Rank rank = kNoRank;
  ExitStatus exit;
  bool killed_by_agent = false;
  Step step = kNoStep;
  Phase phase = Phase::kStartup;
  std::int64_t exit_unix_ms = 0;
  std::string error;
  std::vector<std::string> last_log_lines;
  bool is_secondary = false;
  std::string signature;
};

struct CheckpointShard {
  RunId run;
  AttemptId attempt;
  Step step = kNoStep;
  Rank rank = kNoRank;
  std::string path;
  std::int64_t size_bytes = 0;
  std::string sha256;
  std::int32_t shards = 0;
  std::int64_t saved_unix_ms = 0;
  double save_seconds = 0;
  std::string error;
  friend bool operator==(const CheckpointShard&,
                         const CheckpointShard&) = default;
};

struct CheckpointShardBad {
  RunId run;
  AttemptId attempt;
  Step step = kNoStep;
  Rank rank = kNoRank;
  std::string path;
  std::string error;
};

struct RankFinished {
  RunId run;
  AttemptId attempt;
  Rank rank = kNoRank;
  Step step = kNoStep;
  std::string parameters_sha256;
};

struct Gap {
  ReportSeq from;
  ReportSeq to;
  std::string reason;
};

enum class CommandOutcome {
  kDone = 1,
  kStaleEpoch = 2,
  kStaleAttempt = 3,
  kBootMismatch = 4,
  kBusy = 5,
  kMissed = 6,
  kFailed = 7,
  kRefused = 8,
};
std::string_view CommandOutcomeName(CommandOutcome outcome);

struct ShardCheck {
  Rank rank = kNoRank;
  std::string path;
  bool ok = false;
  std::string error;
};

struct CommandResult {
  std::string command_id;
  RunId run;
  AttemptId attempt;
  CommandOutcome outcome = CommandOutcome::kDone;
  std::string message;
  std::vector<ShardCheck> checks;
};

using ReportBody =
    std::variant<StepBlock, RankExited, CheckpointShard, CheckpointShardBad,
                 CommandResult, RankFinished, Gap>;
struct Report {
  ReportSeq seq;
  ReportBody body;
};
// Telemetry (step blocks) may be thinned when a disk is full; the rest not.
bool IsTelemetry(const ReportBody& body);

struct Hello {
  NodeState state;
  std::uint64_t max_server_epoch = 0;
  ReportSeq oldest_seq;
  std::string token;
  std::int32_t protocol_version = 1;
};

struct Welcome {
  std::uint64_t server_epoch = 0;
  std::string server_id;
  ReportSeq resume_after;
  Duration heartbeat_interval{std::chrono::milliseconds(500)};
};

struct StopCommand {
  Duration grace{};
};
struct RankStart {
  Rank rank = kNoRank;
  std::int32_t local_rank = 0;
  std::string resume_path;
  friend bool operator==(const RankStart&, const RankStart&) = default;
};
struct StartCommand {
  std::vector<std::string> argv;
  std::string working_directory;
  std::map<std::string, std::string> environment;
  std::vector<RankStart> ranks;
  std::int32_t world_size = 0;
  std::int32_t node_rank = 0;
  std::int32_t nodes = 0;
  std::string master_address;
  std::int32_t master_port = 0;
  std::string checkpoint_directory;
  Step resume_step = kNoStep;
  std::int64_t target_steps = 0;
  std::string log_format;
  std::string log_path;
};
struct SaveCommand {
  Step step;
  bool then_stop = false;
  std::uint64_t save_seq = 0;
};
struct ShardRef {
  Rank rank = kNoRank;
  std::string path;
  std::int64_t size_bytes = 0;
  std::string sha256;
};
struct VerifyCommand {
  std::vector<ShardRef> shards;
};
struct ForgetCommand {};
using CommandBody = std::variant<StopCommand, StartCommand, SaveCommand,
                                 VerifyCommand, ForgetCommand>;
struct Command {
  std::string command_id;
  std::uint64_t server_epoch = 0;
  RunId run;
  AttemptId attempt;
  std::string boot_id;
  CommandBody body;
};
std::string_view CommandName(const CommandBody& body);  // "stop", "start", ...

}  // namespace steadyrun
