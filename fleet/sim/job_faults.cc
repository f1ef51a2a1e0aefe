// How the faults of processes and machines strike a job.

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <utility>

#include "fleet/sim/job.h"
#include "fleet/sim/random.h"

namespace steadyrun::fleet {
namespace {

enum Stream : std::uint64_t { kSkew = 201, kPeers, kArrivals };

// What a peer needs at least to notice that a connection is gone.
constexpr double kNotice = 0.001;

struct Death {
  ExitStatus exit;
  std::string_view error;
};

// How ranks die by themselves; shares as hardware and software crashes of
// public statistics have them (rates-and-scoring.md 3.2, 3.3).
Death DeathOf(double variant) {
  if (variant < 0.35) {
    return {{1, 0},
            "RuntimeError: CUDA error: uncorrectable ECC error encountered"};
  }
  if (variant < 0.5) return {{0, SIGKILL}, ""};  // The kernel, out of memory.
  if (variant < 0.65) return {{0, SIGSEGV}, ""};
  if (variant < 0.8) return {{1, 0}, "ValueError: bad sample in batch"};
  if (variant < 0.9) {
    return {{0, SIGABRT},
            "terminate called after throwing an instance of "
            "'c10::Error'"};
  }
  return {{1, 0}, ""};  // Without a word.
}

constexpr std::string_view kPeerError =
    "RuntimeError: NCCL error: remote process exited or there was a network "
    "error";

}  // namespace

double Job::SkewOf(const NodeId& node) const {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: the same everywhere.
  for (const char c : node) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  const double most = options_.profile.noise.clock_skew;
  return Random(options_.seed, kSkew, hash).Uniform(-most, most);
}

// The rank is gone at `at`; the word of it reaches the service a little later.
void Job::EndRank(std::int32_t rank, RankExited exit, MonoTime at) {
  const NodeId& node = rank_nodes_[static_cast<std::size_t>(rank)];
  exit.run = options_.run;
  exit.attempt = attempt_;
  exit.rank = Rank{rank};
  exit.step = ShownStep();
  exit.exit_unix_ms =
      ToUnixMillis(WallAt(at)) + std::llround(1000 * SkewOf(node));
  ends_.try_emplace(rank, RankEnd{at, exit.exit, false});
  Random random(options_.seed + static_cast<std::uint64_t>(attempt_.value),
                kArrivals, static_cast<std::uint64_t>(rank));
  const Duration way =
      FromSeconds(random.Exponential(options_.profile.noise.arrival));
  Later(at + way, [this, rank, at, exit = std::move(exit)](
                      MonoTime now, std::vector<Happening>* out) mutable {
    const RankEnd& end = ends_[rank];
    if (end.by_agent && end.at < at) return;  // Was killed before.
    if (IsSilent(NodeOf(rank), now)) return;
    exit.phase = StateOf(rank, at).phase;
    out->push_back({now, NodeOf(rank), std::move(exit)});
  });
}

// The others lose their connections, one after the other, `wait` seconds after
// `now` at the earliest.
void Job::KillPeers(std::int32_t first, std::int32_t count, MonoTime now,
                    double wait) {
  Random random(options_.seed + static_cast<std::uint64_t>(attempt_.value),
                kPeers);
  const Noise& noise = options_.profile.noise;
  for (std::int32_t rank = 0; rank < options_.ranks; ++rank) {
    const double after = wait + kNotice + random.Uniform(0, noise.cascade);
    const bool is_misread = random.Chance(noise.misread);
    const bool is_abort = random.Chance(0.2);
    if ((rank >= first && rank < first + count) || ends_.contains(rank)) {
      continue;
    }
    RankExited exit;
    exit.exit = is_abort ? ExitStatus{0, SIGABRT} : ExitStatus{1, 0};
    exit.is_secondary = !is_misread;
    exit.error =
        is_misread ? "RuntimeError: internal error" : std::string(kPeerError);
    exit.signature = exit.error.substr(0, 24);
    EndRank(rank, std::move(exit), now + FromSeconds(after));
  }
}

void Job::Strike(Fault& fault, MonoTime now, std::vector<Happening>* out) {
  const std::string comment = fault.comment;
  Note(fault, now);
  switch (fault.kind) {
    case FaultKind::kCrash:
      return StrikeCrash(fault, now);
    case FaultKind::kLinkLost:
      return StrikeLink(fault, now);
    case FaultKind::kHang:
      return StrikeHang(fault);
    case FaultKind::kNodeLost:
      StrikeNodeLost(fault, now, out);
      if (!comment.empty()) fault.comment = comment + ", " + fault.comment;
      return;
    case FaultKind::kAgentLost:
      return StrikeAgentLost(fault, now, out);
    default:
      return;  // In the rows.
  }
}

void Job::StrikeCrash(Fault& fault, MonoTime now) {
  const Death death = DeathOf(fault.variant);
  RankExited exit;
  exit.exit = death.exit;
  exit.error = death.error;
  exit.signature = exit.error.substr(0, exit.error.find(':'));
  if (!exit.error.empty()) exit.last_log_lines = {exit.error};
  fault.comment = DescribeExit(exit.exit);
  EndRank(fault.rank.value, std::move(exit), now);
  KillPeers(fault.rank.value, 1, now, 0);
}

// Its ranks and their peers say the same: a connection is lost.
void Job::StrikeLink(Fault& fault, MonoTime now) {
  fault.comment = "all say that a peer is gone";
  for (std::int32_t r = 0; r < fault.ranks; ++r) {
    RankExited exit;
    exit.exit = {1, 0};
    exit.is_secondary = true;
    exit.error = kPeerError;
    exit.signature = exit.error.substr(0, 24);
    EndRank(fault.rank.value + r, std::move(exit), now);
  }
  KillPeers(fault.rank.value, fault.ranks, now, 0);
}

void Job::StrikeHang(Fault& fault) {
  hung_rank_ = fault.rank.value;
  hung_at_ = fault.struck;
  // The digits behind the first tell the variant, so that it does not depend
  // on the moment, which `variant` places within the step.
  const double dark = options_.profile.noise.dark_hang;
  const double u = std::fmod(fault.variant * 1000, 1.0);
  if (u < dark) {
    hang_ = HangMark::kDark;
    fault.comment = "no trace";
  } else if (u < dark + 0.2) {
    hang_ = HangMark::kStopped;
    fault.comment = "stopped process";
  } else if (u < dark + 0.55) {
    hang_ = HangMark::kPhase;
    fault.comment = "stands in its forward pass";
  } else if (u < dark + 0.8) {
    hang_ = HangMark::kData;
    fault.comment = "waits for data";
  } else {
    hang_ = HangMark::kCpu;
    fault.comment = "idle, no phase tells";
  }
}

void Job::StrikeNodeLost(Fault& fault, MonoTime now,
                         std::vector<Happening>* out) {
  const std::int32_t node = NodeOf(fault.rank.value);
  silent_[node] = {now, MonoTime::max() - std::chrono::hours(1)};
  out->push_back({now, node, WentSilent{}});
  if (fault.variant < 0.5) {
    // The transport's retries are over after some seconds.
    fault.comment = "peers die";
    KillPeers(fault.rank.value, fault.ranks, now, 2 + 6 * fault.variant);
  } else {
    fault.comment = "peers wait";
  }
}

void Job::StrikeAgentLost(Fault& fault, MonoTime now,
                          std::vector<Happening>* out) {
  const std::int32_t node = NodeOf(fault.rank.value);
  const Duration silence = FromSeconds(fault.severity);
  silent_[node] = {now, now + silence};
  fault.comment = fmt::format("for {:.0f} s", fault.severity);
  out->push_back({now, node, WentSilent{true, silence}});
}

}  // namespace steadyrun::fleet
