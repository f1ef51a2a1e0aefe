#include "server/detect/speed/data_stall_detector.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

#include "server/detect/speed/slow_groups.h"
#include "server/model/row_columns.h"

namespace steadyrun {
namespace {

constexpr float kClip = 0.25f;
constexpr float kAlarm = 0.5f;
constexpr std::size_t kFirstRows = 20;
constexpr float kFollow = 0.01f;
constexpr std::size_t kMaxFindings = 8;

}  // namespace

void DataStallDetector::Begin(const WatchedWorld& world) {
  all_.Reset(1);
  ranks_.Reset(world.Size());
  share_.assign(world.Size(), 0);
  first_shares_.clear();
  usual_ = -1;
  slow_ranks_ = 0;
  is_always_told_ = false;
  is_told_ = false;
}

bool DataStallDetector::ReadShares(const StepRow& row) {
  const auto waited = RowColumn(row, Metric::kDataSeconds);
  if (waited.size() != share_.size() || row.step_seconds <= 0 ||
      !std::isfinite(row.step_seconds)) {
    return false;
  }
  const float scale = static_cast<float>(1 / row.step_seconds);
  present_.clear();
  for (std::size_t r = 0; r < waited.size(); ++r) {
    const float share = waited[r] * scale;
    const bool is_known = share >= 0 && std::isfinite(share);
    share_[r] = is_known ? share : AbsentValue();
    if (is_known) present_.push_back(share);
  }
  return !present_.empty() && present_.size() * 2 >= share_.size();
}

void DataStallDetector::Observe(const StepRow& row, const WatchedWorld& world,
                                Now now, Verdicts* verdicts) {
  if (!ReadShares(row)) return;
  const float share = FastMedian(present_, &scratch_);
  ObserveAll(share, row, world, now, verdicts);
  if (present_.size() >= 3) ObserveRanks(share, row, world, now, verdicts);
  ClearIfOver(world, verdicts);
}

void DataStallDetector::LearnUsual(float share) {
  if (usual_ >= 0) {
    if (!is_told_) usual_ += kFollow * (share - usual_);
    return;
  }
  first_shares_.push_back(share);
  if (first_shares_.size() < kFirstRows) return;
  usual_ = FastMedian(first_shares_, &scratch_);
}

void DataStallDetector::ObserveAll(float share, const StepRow& row,
                                   const WatchedWorld& world, Now now,
                                   Verdicts* verdicts) {
  const float usual = usual_;
  LearnUsual(share);
  if (usual_ < 0) return;
  Finding finding = MakeFinding(IncidentKind::kDataStall, world.attempt, now);
  finding.detector = "data_stall";
  finding.severity = Severity::kWarning;
  finding.step = row.step;
  finding.signature = "data_stall all";
  if (usual < 0) {  // Known as of this row.
    if (usual_ <= options_.always_share) return;
    is_always_told_ = is_told_ = true;
    finding.onset_step = row.step;
    finding.reason = fmt::format(
        "The ranks wait for input {:.0f} % of each step, from the first steps "
        "on.",
        100 * usual_);
    verdicts->findings.push_back(std::move(finding));
    return;
  }
  const float excess = share - usual;
  std::vector<std::size_t> raised;
  std::vector<std::size_t> calmed;
  all_.Add(0, std::span(&excess, 1),
           {kClip, static_cast<float>(options_.share), kAlarm}, row.step,
           &raised, &calmed);
  if (raised.empty()) return;
  is_told_ = true;
  finding.onset_step = all_.Onset(0);
  finding.reason = fmt::format(
      "The ranks wait for input {:.0f} % of each step since step {}, usually "
      "{:.0f} %.",
      100 * share, finding.onset_step.value, 100 * usual);
  finding.evidence.push_back(
      fmt::format("step {}: the median rank waited {} of {}", row.step.value,
                  HumanSeconds(FromSeconds(share * row.step_seconds)),
                  HumanSeconds(FromSeconds(row.step_seconds))));
  verdicts->findings.push_back(std::move(finding));
}

void DataStallDetector::ObserveRanks(float share, const StepRow& row,
                                     const WatchedWorld& world, Now now,
                                     Verdicts* verdicts) {
  for (float& value : share_) {
    value = std::isnan(value) ? 0.0f : value - share;
  }
  std::vector<std::size_t> raised;
  std::vector<std::size_t> calmed;
  ranks_.Add(0, share_, {kClip, static_cast<float>(options_.share), kAlarm},
             row.step, &raised, &calmed);
  slow_ranks_ += raised.size();
  slow_ranks_ -= calmed.size();
  if (!raised.empty()) TellRank(raised, row, world, now, verdicts);
}

void DataStallDetector::TellRank(const std::vector<std::size_t>& raised,
                                 const StepRow& row, const WatchedWorld& world,
                                 Now now, Verdicts* verdicts) {
  std::size_t told = 0;
  for (const SlowGroup& group : GroupSlowRanks(raised, world)) {
    if (told++ == kMaxFindings) return;
    is_told_ = true;
    Finding finding = MakeFinding(IncidentKind::kDataStall, world.attempt, now);
    finding.detector = "data_stall";
    finding.severity = Severity::kWarning;
    finding.step = row.step;
    finding.onset_step = ranks_.Onset(group.ranks.front());
    finding.culprit = group.culprit;
    finding.reason = fmt::format(
        "Input is late on {} since step {}; the other ranks wait for it.",
        group.name, finding.onset_step.value);
    finding.signature = "data_stall " + group.name;
    for (const std::size_t r : group.ranks) {
      if (finding.suspects.size() == kMaxSuspects) break;
      const Rank rank{static_cast<std::int32_t>(r)};
      finding.suspects.push_back(rank);
      finding.evidence.push_back(fmt::format(
          "step {}: {} waited {:.0f} % of the step more than the median rank",
          row.step.value, RankOnNode(rank, world.NodeOf(r)), 100 * share_[r]));
    }
    verdicts->findings.push_back(std::move(finding));
  }
}

void DataStallDetector::ClearIfOver(const WatchedWorld& world,
                                    Verdicts* verdicts) {
  if (!is_told_ || all_.IsRaised(0) || slow_ranks_ > 0) return;
  if (is_always_told_ && usual_ > options_.always_share / 2) {
    // The usual share is what was told of: it is over when that has fallen.
    usual_ += kFollow * (FastMedian(present_, &scratch_) - usual_);
    return;
  }
  is_told_ = is_always_told_ = false;
  Clearance clearance;
  clearance.kind = IncidentKind::kDataStall;
  clearance.run = world.attempt.run;
  clearance.reason = "no rank waits for input longer than usual";
  verdicts->cleared.push_back(std::move(clearance));
}

std::size_t DataStallDetector::StateBytes() const {
  return ranks_.StateBytes() +
         (share_.capacity() + present_.capacity() + scratch_.sample.capacity() +
          scratch_.kept.capacity() + scratch_.deviations.capacity()) *
             sizeof(float);
}

}  // namespace steadyrun
