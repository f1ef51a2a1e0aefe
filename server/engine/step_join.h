#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "proto/messages/messages.h"
#include "server/engine/report_acks.h"
#include "server/model/step_row.h"

namespace steadyrun {

// A finished row and the reports it consists of, which are applied with it.
struct ClosedRow {
  StepRow row;
  std::vector<HeldReport> held;
};

// Joins the nodes' blocks of one attempt into one row a step: the hot path,
// some ten nanoseconds a rank. A row closes when all ranks are in it, or
// kRowDeadline after its first block, so that a hung rank or a silent node
// does not hold back the others; what comes later makes a row of its own,
// which the store merges by rank.
//
// Columns are copied as wholes: no allocation, branch or look-up a rank.
class StepJoin {
 public:
  static constexpr Duration kRowDeadline = std::chrono::seconds(1);
  // Open rows hold at most this much, and never more than kMaxOpenRows; past
  // it the oldest closes early. Enough for a minute of backlog of a small run.
  static constexpr std::size_t kMaxOpenBytes = 32 << 20;
  static constexpr std::size_t kMaxOpenRows = 4096;

  // A new attempt. Requires: no open rows (CloseAll before).
  void Begin(RunId run, AttemptId attempt, std::int32_t world_size);

  // Appends to `closed` what the block completes. False: nothing of the block
  // is used (no known rank in it), so its report is applied.
  bool Add(const StepBlock& block, const HeldReport& held, Now now,
           std::vector<ClosedRow>* closed);
  void CloseExpired(Now now, std::vector<ClosedRow>* closed);
  void CloseAll(Now now, std::vector<ClosedRow>* closed);

  // Newest completed step of one rank, as its blocks or heartbeats tell.
  const std::vector<std::int64_t>& RankSteps() const { return rank_steps_; }
  // True if it is news.
  bool NoteRankStep(Rank rank, Step step);
  Step NewestStep() const { return newest_; }
  std::size_t OpenRows() const { return open_.size(); }

 private:
  struct OpenRow {
    StepRow row;
    std::vector<HeldReport> held;
    std::vector<std::uint8_t> seen;  // By rank.
    std::int32_t missing = 0;
    MonoTime deadline;
  };

  OpenRow& FindOrOpen(const StepBlock& block, Now now);
  // Columns of the block's metrics in the row; adds those that are new.
  void MapColumns(const StepBlock& block, StepRow* row);
  void CopyColumns(const StepBlock& block, StepRow* row);
  void Close(std::map<Step, OpenRow>::iterator it, Now now,
             std::vector<ClosedRow>* closed);

  RunId run_;
  AttemptId attempt_;
  std::int32_t world_size_ = 0;
  std::map<Step, OpenRow> open_;
  std::map<Step, OpenRow>::iterator last_ = open_.end();
  std::vector<std::int64_t> rank_steps_;
  Step newest_ = kNoStep;
  std::vector<std::size_t> columns_;  // Scratch of MapColumns.
};

// Fills the row's summary (loss, step_seconds, ...) from its columns.
void Summarize(StepRow* row, std::vector<double>* scratch);

}  // namespace steadyrun
