#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "agent/spool/spool.h"
#include "proto/messages/convert.h"

namespace steadyrun::agent {

inline Report Telemetry(std::uint64_t seq, std::size_t ranks = 8) {
  StepBlock block;
  block.run = "run";
  block.attempt = AttemptId{1};
  block.step = Step{static_cast<std::int64_t>(seq)};
  block.metrics = {1, 2, 3};
  for (std::size_t r = 0; r < ranks; ++r) {
    block.ranks.push_back(static_cast<std::uint32_t>(r));
  }
  block.values.assign(ranks * 3, 0.5f);
  return {ReportSeq{seq}, block};
}

inline Report Critical(std::uint64_t seq) {
  RankExited exit;
  exit.run = "run";
  exit.attempt = AttemptId{1};
  exit.rank = Rank{3};
  exit.error = std::string(200, 'x');
  return {ReportSeq{seq}, exit};
}

inline std::vector<Report> Stored(Spool& spool) {
  std::vector<Report> reports;
  ReportSeq after;
  for (;;) {
    const auto batch = spool.ReadAfter(after, 64 << 10);
    if (batch.empty()) return reports;
    for (const SpooledReport& one : batch) {
      v1::Report proto;
      EXPECT_TRUE(proto.ParseFromString(one.bytes));
      auto report = FromProto(proto);
      EXPECT_TRUE(report.ok()) << report.status();
      EXPECT_EQ(report->seq, one.seq);
      EXPECT_GT(one.seq, after);
      after = one.seq;
      reports.push_back(*std::move(report));
    }
  }
}

struct Inventory {
  std::size_t telemetry = 0;
  std::size_t critical = 0;
  std::size_t gaps = 0;
};

// Every number from `first` to `last` is there, or under exactly one gap:
// nothing is lost silently, and nothing twice.
inline Inventory ExpectConserved(const std::vector<Report>& reports,
                                 std::uint64_t first, std::uint64_t last) {
  Inventory found;
  std::uint64_t next = first;
  for (const Report& report : reports) {
    if (const Gap* gap = std::get_if<Gap>(&report.body)) {
      ++found.gaps;
      EXPECT_EQ(gap->from.value, next);
      EXPECT_EQ(gap->to, report.seq);
    } else {
      EXPECT_EQ(report.seq.value, next);
      ++(IsTelemetry(report.body) ? found.telemetry : found.critical);
    }
    next = report.seq.value + 1;
  }
  EXPECT_EQ(next, last + 1);
  return found;
}

}  // namespace steadyrun::agent
