#include "agent/spool/gap_ranges.h"

#include <utility>

#include "proto/messages/convert.h"

namespace steadyrun::agent {
namespace {

constexpr std::size_t kMaxReasonBytes = 1000;

ReportKind KindOf(const ReportBody& body) {
  if (std::holds_alternative<Gap>(body)) return ReportKind::kGap;
  return IsTelemetry(body) ? ReportKind::kTelemetry : ReportKind::kCritical;
}

// The start of the range that a stored gap record covers.
ReportSeq GapStart(const SpoolRow& row) {
  v1::Report proto;
  if (!proto.ParseFromString(row.bytes) || !proto.has_gap()) return row.seq;
  return ReportSeq{proto.gap().from_seq()};
}

}  // namespace

SpoolRow EncodeReport(const Report& report) {
  v1::Report proto;
  ToProto(report, &proto);
  // A report that the server must refuse would be refused for ever, and all
  // that follow it with it. The checks are the same on both sides.
  if (const auto read = FromProto(proto); !read.ok()) {
    return EncodeGap(report.seq, report.seq,
                     "malformed: " + std::string(read.status().message()));
  }
  return {report.seq, KindOf(report.body), proto.SerializeAsString()};
}

SpoolRow EncodeGap(ReportSeq from, ReportSeq to, const std::string& reason) {
  v1::Report proto;
  ToProto(Report{to, Gap{from, to, reason.substr(0, kMaxReasonBytes)}}, &proto);
  return {to, ReportKind::kGap, proto.SerializeAsString()};
}

void GapRanges::Drop(const SpoolRow& row) {
  if (open_ && row.seq != open_->to.Next()) Finish();
  if (!open_) {
    open_ = Range{row.seq, row.seq};
    if (gap_before_ && gap_before_->seq.Next() == row.seq) {
      open_->from = GapStart(*gap_before_);
      removed_.push_back(gap_before_->seq);
      bytes_ += gap_before_->bytes.size();
    }
  }
  gap_before_.reset();
  open_->to = row.seq;
  removed_.push_back(row.seq);
  bytes_ += row.bytes.size();
  ++dropped_;
}

void GapRanges::Keep(const SpoolRow& row) {
  Finish();
  gap_before_.reset();
  if (row.kind == ReportKind::kGap) gap_before_ = row;
}

void GapRanges::Finish() {
  if (!open_) return;
  gaps_.push_back(EncodeGap(open_->from, open_->to, reason_));
  gap_before_ = gaps_.back();
  open_.reset();
}

}  // namespace steadyrun::agent
