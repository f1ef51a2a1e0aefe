#include "server/engine/step_join.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/robust_stats.h"

namespace steadyrun {
namespace {

// Inline: asked for each value.
bool IsMissing(float value) {
  return std::bit_cast<std::uint32_t>(value) == kAbsentBits;
}

bool HasName(std::uint32_t metric) { return metric >= kFirstNamedMetric; }

// The row's column for a block's metric; added, filled with absent values, if
// the row has none. Named metrics are matched by name: each node numbers its
// own table.
std::size_t ColumnFor(const StepBlock& block, std::uint32_t metric,
                      StepRow* row) {
  std::uint32_t wanted = metric;
  if (HasName(metric)) {
    const std::string& name = block.names[metric - kFirstNamedMetric];
    auto it = std::find(row->names.begin(), row->names.end(), name);
    wanted =
        kFirstNamedMetric + static_cast<std::uint32_t>(it - row->names.begin());
    if (it == row->names.end()) row->names.push_back(name);
  }
  auto it = std::find(row->metrics.begin(), row->metrics.end(), wanted);
  const auto column = static_cast<std::size_t>(it - row->metrics.begin());
  if (it == row->metrics.end()) {
    row->metrics.push_back(wanted);
    row->values.resize(
        row->metrics.size() * static_cast<std::size_t>(row->world_size),
        AbsentValue());
  }
  return column;
}

std::span<const float> ColumnOf(const StepRow& row, Metric metric) {
  const auto world = static_cast<std::size_t>(row.world_size);
  for (std::size_t m = 0; m < row.metrics.size(); ++m) {
    if (row.metrics[m] == static_cast<std::uint32_t>(metric)) {
      return {row.values.data() + m * world, world};
    }
  }
  return {};
}

}  // namespace

void StepJoin::Begin(RunId run, AttemptId attempt, std::int32_t world_size) {
  SR_CHECK(open_.empty());
  run_ = std::move(run);
  attempt_ = attempt;
  world_size_ = world_size;
  rank_steps_.assign(static_cast<std::size_t>(world_size), kNoStep.value);
  newest_ = kNoStep;
  last_ = open_.end();
}

bool StepJoin::NoteRankStep(Rank rank, Step step) {
  if (rank.value < 0 || rank.value >= world_size_) return false;
  std::int64_t& known = rank_steps_[static_cast<std::size_t>(rank.value)];
  if (step.value <= known) return false;
  known = step.value;
  newest_ = std::max(newest_, step);
  return true;
}

StepJoin::OpenRow& StepJoin::FindOrOpen(const StepBlock& block, Now now) {
  if (last_ != open_.end() && last_->first == block.step) return last_->second;
  auto [it, is_new] = open_.try_emplace(block.step);
  last_ = it;
  OpenRow& open = it->second;
  if (!is_new) return open;
  open.row.run = run_;
  open.row.attempt = attempt_;
  open.row.step = block.step;
  open.row.world_size = world_size_;
  open.seen.assign(static_cast<std::size_t>(world_size_), 0);
  open.missing = world_size_;
  open.deadline = now.mono + kRowDeadline;
  return open;
}

void StepJoin::MapColumns(const StepBlock& block, StepRow* row) {
  const auto world = static_cast<std::size_t>(world_size_);
  if (row->metrics.empty()) {
    row->metrics = block.metrics;
    row->names = block.names;
    row->values.assign(row->metrics.size() * world, AbsentValue());
  }
  columns_.clear();
  if (row->metrics == block.metrics && row->names == block.names) {
    for (std::size_t m = 0; m < block.metrics.size(); ++m) {
      columns_.push_back(m);
    }
    return;
  }
  for (std::uint32_t metric : block.metrics) {
    columns_.push_back(ColumnFor(block, metric, row));
  }
}

void StepJoin::CopyColumns(const StepBlock& block, StepRow* row) {
  const auto world = static_cast<std::size_t>(world_size_);
  const std::size_t count = block.ranks.size();
  const std::uint32_t first = block.ranks.front();
  const bool is_dense = block.ranks.back() - first + 1 == count;
  for (std::size_t m = 0; m < columns_.size(); ++m) {
    float* to = row->values.data() + columns_[m] * world;
    const float* from = block.values.data() + m * count;
    if (is_dense) {
      std::memcpy(to + first, from, count * sizeof(float));
      continue;
    }
    for (std::size_t i = 0; i < count; ++i) to[block.ranks[i]] = from[i];
  }
}

bool StepJoin::Add(const StepBlock& block, const HeldReport& held, Now now,
                   std::vector<ClosedRow>* closed) {
  const auto world = static_cast<std::uint32_t>(world_size_);
  // Ranks ascend, so the last is the greatest.
  if (block.ranks.empty() || block.ranks.back() >= world ||
      block.step < Step{0} ||
      block.values.size() != block.ranks.size() * block.metrics.size()) {
    return false;
  }
  OpenRow& open = FindOrOpen(block, now);
  MapColumns(block, &open.row);
  CopyColumns(block, &open.row);
  for (std::uint32_t rank : block.ranks) {
    open.missing -= open.seen[rank] == 0 ? 1 : 0;
    open.seen[rank] = 1;
    rank_steps_[rank] = std::max(rank_steps_[rank], block.step.value);
  }
  newest_ = std::max(newest_, block.step);
  open.held.push_back(held);
  if (open.missing == 0) {
    Close(last_, now, closed);
    return true;
  }
  const std::size_t row_bytes =
      std::max<std::size_t>(1, open.row.values.size() * sizeof(float));
  const std::size_t limit =
      std::clamp<std::size_t>(kMaxOpenBytes / row_bytes, 16, kMaxOpenRows);
  while (open_.size() > limit) Close(open_.begin(), now, closed);
  return true;
}

void StepJoin::CloseExpired(Now now, std::vector<ClosedRow>* closed) {
  for (auto it = open_.begin(); it != open_.end();) {
    auto next = std::next(it);
    if (now.mono >= it->second.deadline) Close(it, now, closed);
    it = next;
  }
}

void StepJoin::CloseAll(Now now, std::vector<ClosedRow>* closed) {
  while (!open_.empty()) Close(open_.begin(), now, closed);
}

void StepJoin::Close(std::map<Step, OpenRow>::iterator it, Now now,
                     std::vector<ClosedRow>* closed) {
  OpenRow& open = it->second;
  open.row.ended = now.wall;
  open.row.is_complete = open.missing == 0;
  closed->push_back({std::move(open.row), std::move(open.held)});
  if (last_ == it) last_ = open_.end();
  open_.erase(it);
}

void Summarize(StepRow* row, std::vector<double>* scratch) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  double sum = 0;
  int count = 0;
  for (float value : ColumnOf(*row, Metric::kLoss)) {
    if (IsMissing(value)) continue;
    sum += value;
    ++count;
  }
  row->loss = count > 0 ? sum / count : nan;

  row->grad_norm = nan;
  bool has_nan = false;
  for (float value : ColumnOf(*row, Metric::kGradNorm)) {
    if (IsMissing(value)) continue;
    has_nan |= std::isnan(value);
    if (!(row->grad_norm >= value)) row->grad_norm = value;
  }
  if (has_nan) row->grad_norm = nan;

  row->tokens = 0;
  for (float value : ColumnOf(*row, Metric::kTokens)) {
    if (std::isfinite(value)) row->tokens += value;
  }

  scratch->clear();
  row->step_seconds_max = 0;
  row->slowest_rank = -1;
  const std::span<const float> seconds = ColumnOf(*row, Metric::kStepSeconds);
  for (std::size_t rank = 0; rank < seconds.size(); ++rank) {
    if (!std::isfinite(seconds[rank])) continue;
    scratch->push_back(seconds[rank]);
    if (row->slowest_rank < 0 || seconds[rank] > row->step_seconds_max) {
      row->step_seconds_max = seconds[rank];
      row->slowest_rank = static_cast<std::int32_t>(rank);
    }
  }
  row->step_seconds = MedianInPlace(*scratch);
}

}  // namespace steadyrun
