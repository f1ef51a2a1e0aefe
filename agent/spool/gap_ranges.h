#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/spool/spool_database.h"
#include "base/ids.h"
#include "proto/messages/messages.h"

namespace steadyrun::agent {

// Chooses rows to drop and makes the gap records that take their place: one a
// run of neighbours, joined to a gap right before it. Feed rows in order.
class GapRanges {
 public:
  explicit GapRanges(std::string reason) : reason_(std::move(reason)) {}

  // A row that goes.
  void Drop(const SpoolRow& row);
  // A row that stays.
  void Keep(const SpoolRow& row);
  void Finish();

  const std::vector<ReportSeq>& removed() const { return removed_; }
  const std::vector<SpoolRow>& gaps() const { return gaps_; }
  std::uint64_t dropped() const { return dropped_; }
  std::uint64_t bytes() const { return bytes_; }  // Of what goes.

 private:
  struct Range {
    ReportSeq from;
    ReportSeq to;
  };
  std::string reason_;
  std::optional<Range> open_;
  std::optional<SpoolRow> gap_before_;
  std::vector<ReportSeq> removed_;
  std::vector<SpoolRow> gaps_;
  std::uint64_t dropped_ = 0;
  std::uint64_t bytes_ = 0;
};

// Serialized as stored and sent.
SpoolRow EncodeReport(const Report& report);
SpoolRow EncodeGap(ReportSeq from, ReportSeq to, const std::string& reason);

}  // namespace steadyrun::agent
