#include "agent/app/disk_thread.h"

#include <pthread.h>

#include <utility>

#include "base/file.h"

namespace steadyrun::agent {
namespace {

// Reports that wait for a disk that stands still: a few MB. Beyond it,
// telemetry becomes a gap, as on a full disk.
constexpr std::size_t kMaxWaiting = 8192;

// The newest telemetry gives way here, since the oldest is being written.
void AppendGap(Report report, std::vector<Report>* reports) {
  Gap gap{report.seq, report.seq, "the agent's disk stood still"};
  Report& last = reports->back();
  if (const Gap* before = std::get_if<Gap>(&last.body);
      before != nullptr && before->to.Next() == report.seq) {
    gap.from = before->from;
    last = {report.seq, std::move(gap)};
    return;
  }
  reports->push_back({report.seq, std::move(gap)});
}

}  // namespace

DiskThread::DiskThread(std::unique_ptr<StateFile> state_file,
                       std::unique_ptr<Spool> spool)
    : state_file_(std::move(state_file)),
      spool_(std::move(spool)),
      thread_([this] { Run(); }) {
  ::pthread_setname_np(thread_.native_handle(), "disk");
}

DiskThread::~DiskThread() {
  {
    absl::MutexLock lock(&mutex_);
    is_stopping_ = true;
  }
  thread_.join();
}

void DiskThread::Persist(PersistState order) {
  absl::MutexLock lock(&mutex_);
  orders_.writes.push_back(std::move(order));
}

void DiskThread::Append(Report report) {
  absl::MutexLock lock(&mutex_);
  if (orders_.reports.size() >= kMaxWaiting && IsTelemetry(report.body)) {
    AppendGap(std::move(report), &orders_.reports);
    return;
  }
  orders_.reports.push_back(std::move(report));
}

void DiskThread::DropThrough(ReportSeq seq) {
  absl::MutexLock lock(&mutex_);
  orders_.drop_through = seq;
  orders_.is_drop_new = true;
}

void DiskThread::Read(std::uint64_t request, ReportSeq after,
                      std::size_t max_bytes) {
  absl::MutexLock lock(&mutex_);
  orders_.read = ReadOrder{request, after, max_bytes};
}

void DiskThread::WriteText(std::string path, std::string text) {
  absl::MutexLock lock(&mutex_);
  orders_.text_path = std::move(path);
  orders_.text = std::move(text);
}

void DiskThread::Run() {
  for (;;) {
    Orders orders;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &DiskThread::HasWork));
      if (orders_.IsEmpty()) return;  // Stopping, and all is done.
      const ReportSeq drop_through = orders_.drop_through;
      orders = std::exchange(orders_, {});
      orders_.drop_through = drop_through;
    }
    CarryOut(std::move(orders));
  }
}

void DiskThread::CarryOut(Orders orders) {
  for (const PersistState& order : orders.writes) {
    absl::Status status = state_file_->Write(order.state);
    if (status.ok()) {
      answers_.Push(StatePersisted{order.ticket});
    } else {
      answers_.Push(StatePersistFailed{order.ticket, std::move(status)});
    }
  }
  if (!orders.reports.empty() || orders.is_drop_new) {
    spool_->Write(orders.reports, orders.drop_through);
    SpoolWritten written;
    if (!orders.reports.empty()) written.through = orders.reports.back().seq;
    written.counts = spool_->counts();
    written.log = spool_->TakeLog();
    answers_.Push(std::move(written));
  }
  if (orders.read) {
    answers_.Push(ReportsRead{
        orders.read->request,
        spool_->ReadAfter(orders.read->after, orders.read->max_bytes)});
  }
  if (!orders.text_path.empty()) {
    WriteFileAtomically(orders.text_path, orders.text).IgnoreError();
  }
}

}  // namespace steadyrun::agent
