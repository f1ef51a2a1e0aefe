#include "server/detect/crash_detector.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <csignal>
#include <set>
#include <tuple>

namespace steadyrun {
namespace {

constexpr std::size_t kMaxExitLines = 16;
constexpr std::size_t kMaxLogLines = 10;

std::string_view ClassWord(int type) {
  constexpr std::string_view kWords[] = {"primary", "cause not reported yet",
                                         "ended early", "victim of a peer"};
  return kWords[type];
}

// Signals that a peer's death does not bring about: those sent from outside
// and the faults of the process itself. SIGABRT and SIGPIPE may be a library's
// answer to a lost connection.
bool IsIndependent(int signal) {
  return signal != 0 && signal != SIGABRT && signal != SIGPIPE;
}

// Signals nobody's own code raises: the same one on the same rank is the same
// failure, on another rank it is another one.
bool IsFromOutside(int signal) {
  return signal == SIGKILL || signal == SIGTERM || signal == SIGINT ||
         signal == SIGHUP || signal == SIGSTOP;
}

Now Before(Now now, Duration age) {
  now.mono -= age;
  now.wall -= std::chrono::duration_cast<std::chrono::milliseconds>(age);
  return now;
}

std::string SignatureOf(const RankExited& exit, bool is_early) {
  if (is_early) return "exited early";
  // The book tells signals by their name's first letters.
  if (IsIndependent(exit.exit.signal)) {
    std::string signature = DescribeExit(exit.exit);
    if (IsFromOutside(exit.exit.signal)) {
      signature += fmt::format(" rank={}", exit.rank.value);
    }
    return signature;
  }
  return exit.signature.empty() ? DescribeExit(exit.exit) : exit.signature;
}

}  // namespace

void CrashDetector::Begin(const WatchedAttempt& attempt) {
  attempt_ = attempt;
  exits_.assign(attempt.WorldSize(), std::nullopt);
  finished_.assign(attempt.WorldSize(), false);
  reported_.reset();
}

bool CrashDetector::EndedWell(const RankExited& exit) const {
  if (exit.exit.code != 0 || exit.exit.signal != 0) return false;
  if (finished_[static_cast<std::size_t>(exit.rank.value)]) return true;
  // Steps count from 0 or from 1, as the trainer likes.
  return attempt_.target_steps > 0 &&
         exit.step.value >= attempt_.target_steps - 1;
}

CrashDetector::Class CrashDetector::Classify(const RankExited& exit,
                                             bool has_report) const {
  const bool is_zero = exit.exit.code == 0 && exit.exit.signal == 0;
  if (is_zero) return Class::kEarly;
  if (IsIndependent(exit.exit.signal)) return Class::kPrimary;
  if (exit.is_secondary) return Class::kSecondary;
  return has_report ? Class::kPrimary : Class::kUnknown;
}

std::optional<Finding> CrashDetector::ObserveExit(const RankExited& exit,
                                                  Now now, Duration age) {
  if (exit.attempt != attempt_.attempt || !attempt_.Has(exit.rank)) {
    return std::nullopt;
  }
  Exit taken;
  taken.report = exit;
  taken.at = now;
  taken.onset = Before(now, age);
  taken.has_report = true;
  return Take(std::move(taken));
}

std::optional<Finding> CrashDetector::ObserveState(const RankState& state,
                                                   Now now) {
  if (state.attempt != attempt_.attempt || !attempt_.Has(state.rank) ||
      state.life != RankLife::kExited) {
    return std::nullopt;
  }
  Exit taken;
  taken.report.run = attempt_.run;
  taken.report.attempt = state.attempt;
  taken.report.rank = state.rank;
  taken.report.exit = state.exit;
  taken.report.killed_by_agent = state.killed_by_agent;
  taken.report.step = state.step;
  taken.report.phase = state.phase;
  taken.at = now;
  taken.onset = Before(now, state.exit_age);
  return Take(std::move(taken));
}

void CrashDetector::ObserveFinished(Rank rank) {
  if (!attempt_.Has(rank)) return;
  const auto r = static_cast<std::size_t>(rank.value);
  finished_[r] = true;
  if (exits_[r].has_value()) {
    exits_[r]->ended_well = EndedWell(exits_[r]->report);
  }
}

std::optional<Finding> CrashDetector::Take(Exit exit) {
  std::optional<Exit>& known =
      exits_[static_cast<std::size_t>(exit.report.rank.value)];
  if (known.has_value()) {
    // A heartbeat repeats itself; only the first report adds something.
    if (known->has_report || !exit.has_report) return std::nullopt;
    exit.at = known->at;  // Seen first in a heartbeat.
    exit.onset = known->onset;
  }
  exit.ended_well = EndedWell(exit.report);
  exit.type = Classify(exit.report, exit.has_report);
  known = std::move(exit);
  // A cascade of thousands: what is no better than the cause that was told
  // changes nothing, and costs no look at all the others.
  if (reported_.has_value() && reported_->culprit.rank != known->report.rank) {
    const auto& told =
        exits_[static_cast<std::size_t>(reported_->culprit.rank.value)];
    if (told.has_value() && IsCandidate(*told) &&
        (!IsCandidate(*known) || !IsBefore(*known, *told))) {
      return std::nullopt;
    }
  }
  const Exit* cause = FirstCause();
  // An early end alone gets time for the others to follow.
  if (cause == nullptr ||
      (cause->type == Class::kEarly && !reported_.has_value() &&
       std::ranges::none_of(exits_, [](const std::optional<Exit>& other) {
         return other.has_value() && !other->report.killed_by_agent &&
                !other->ended_well && other->type != Class::kEarly;
       }))) {
    return std::nullopt;
  }
  Finding finding = Describe(*cause, /*is_final=*/false);
  const bool is_news = !reported_.has_value() ||
                       reported_->culprit != finding.culprit ||
                       reported_->reason != finding.reason;
  reported_ = finding;
  if (!is_news) return std::nullopt;
  return finding;
}

bool CrashDetector::IsCandidate(const Exit& exit) const {
  return !exit.report.killed_by_agent && !exit.ended_well;
}

bool CrashDetector::IsBefore(const Exit& left, const Exit& right) const {
  const auto key = [this](const Exit& exit) {
    return std::make_tuple(
        exit.type, exit.at.mono, attempt_.NodeOf(exit.report.rank),
        exit.report.exit_unix_ms, exit.report.step, exit.report.rank);
  };
  return key(left) < key(right);
}

const CrashDetector::Exit* CrashDetector::FirstCause() const {
  const Exit* first = nullptr;
  for (const std::optional<Exit>& exit : exits_) {
    if (!exit.has_value() || !IsCandidate(*exit)) continue;
    if (first == nullptr || IsBefore(*exit, *first)) first = &*exit;
  }
  return first;
}

std::optional<Finding> CrashDetector::Evaluate(Now now) {
  if (reported_.has_value() || AllEndedWell()) return std::nullopt;
  const Exit* cause = FirstCause();
  if (cause == nullptr ||
      now.mono - cause->at.mono < options_.early_exit_grace) {
    return std::nullopt;
  }
  reported_ = Describe(*cause, /*is_final=*/false);
  return reported_;
}

std::vector<Finding> CrashDetector::Final() const {
  const Exit* cause = FirstCause();
  if (!reported_.has_value() || cause == nullptr) return {};
  std::vector<Finding> findings = {Describe(*cause, /*is_final=*/true)};
  std::set<NodeId> nodes = {attempt_.NodeOf(cause->report.rank)};
  for (const std::optional<Exit>& exit : exits_) {
    if (findings.size() > kMaxIndependent) break;
    if (!exit.has_value() || exit->report.killed_by_agent ||
        !IsIndependent(exit->report.exit.signal) ||
        !nodes.insert(attempt_.NodeOf(exit->report.rank)).second) {
      continue;
    }
    findings.push_back(Describe(*exit, /*is_final=*/true));
  }
  return findings;
}

bool CrashDetector::AllEndedWell() const {
  return !exits_.empty() &&
         std::ranges::all_of(exits_, [this](const std::optional<Exit>& exit) {
           // Without a known target, all ending with code 0 is an end.
           return exit.has_value() &&
                  (exit->ended_well ||
                   (attempt_.target_steps == 0 && exit->type == Class::kEarly &&
                    !exit->report.killed_by_agent));
         });
}

std::vector<NodeId> CrashDetector::NodesWithExits() const {
  std::set<NodeId> nodes;
  for (const std::optional<Exit>& exit : exits_) {
    if (exit.has_value() && !exit->report.killed_by_agent &&
        !exit->ended_well) {
      nodes.insert(attempt_.NodeOf(exit->report.rank));
    }
  }
  return {nodes.begin(), nodes.end()};
}

Finding CrashDetector::Describe(const Exit& cause, bool is_final) const {
  const RankExited& exit = cause.report;
  const NodeId node = attempt_.NodeOf(exit.rank);
  Finding finding = MakeFinding(IncidentKind::kCrash, attempt_, cause.onset);
  finding.culprit = {node, exit.rank};
  finding.step = exit.step;
  finding.is_provisional = !is_final;
  finding.is_victim = cause.type == Class::kSecondary;
  finding.is_independent = IsIndependent(exit.exit.signal);

  const std::string who = RankOnNode(exit.rank, node);
  const std::string when = exit.step == kNoStep
                               ? std::string("before its first step")
                               : fmt::format("after step {}", exit.step.value);
  const std::string how = cause.type == Class::kEarly
                              ? std::string("exit code 0 before its last step")
                              : DescribeExit(exit.exit);
  finding.reason = fmt::format("{} ended with {} {}, in phase {}{}{}.", who,
                               how, when, PhaseName(exit.phase),
                               exit.error.empty() ? "" : ": ", exit.error);
  finding.reason[0] = 'R';

  finding.signature = SignatureOf(exit, cause.type == Class::kEarly);

  std::vector<const Exit*> exits;
  for (const std::optional<Exit>& other : exits_) {
    if (other.has_value() && !other->report.killed_by_agent &&
        !other->ended_well) {
      exits.push_back(&*other);
    }
  }
  std::ranges::stable_sort(exits, {}, [](const Exit* other) {
    return std::make_tuple(other->at.mono, other->type);
  });
  for (const Exit* other : exits) {
    if (finding.evidence.size() >= kMaxExitLines) {
      finding.evidence.push_back(
          fmt::format("and {} more exits", exits.size() - kMaxExitLines));
      break;
    }
    const RankExited& report = other->report;
    finding.evidence.push_back(
        fmt::format("{}: {} after step {}, {}{}{}",
                    RankOnNode(report.rank, attempt_.NodeOf(report.rank)),
                    DescribeExit(report.exit), report.step.value,
                    ClassWord(static_cast<int>(other->type)),
                    report.error.empty() ? "" : ": ", report.error));
  }
  const auto& lines = exit.last_log_lines;
  const std::size_t skip =
      lines.size() > kMaxLogLines ? lines.size() - kMaxLogLines : 0;
  for (std::size_t i = skip; i < lines.size(); ++i) {
    finding.evidence.push_back(
        fmt::format("rank {} log: {}", exit.rank.value, lines[i]));
  }
  return finding;
}

}  // namespace steadyrun
