#include "agent/recorder/rank_recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "agent/recorder/standstill.h"
#include "base/file.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

// No training run counts further; a larger number is damage.
constexpr std::int64_t kMaxStep = 1'000'000'000'000;
// A trainer that writes nonsense must not fill the agent's log.
constexpr int kMaxLinesSaid = 20;
constexpr int kReadTries = 3;

constexpr std::uint64_t kCursorMagic = 0x3152554353525553ull;
struct Cursor {
  std::uint64_t magic = kCursorMagic;
  std::uint64_t steps = 0;
  std::uint64_t events = 0;
  std::uint64_t check = 0;  // Of the three above.
  std::uint64_t Check() const { return magic ^ (steps * 3) ^ (events * 5); }
};

std::string CursorPath(const RecorderFile& file) {
  return file.path() + ".cursor";
}

Duration AgeOf(std::uint64_t mono_ns, MonoTime now) {
  const auto then = static_cast<std::int64_t>(mono_ns);
  const std::int64_t age = now.time_since_epoch().count() - then;
  // A time in the future is the trainer's mistake: it is fresh at most.
  return Duration(then < 0 ? 0 : std::max<std::int64_t>(age, 0));
}

Phase CheckedPhase(std::uint32_t phase) {
  const bool is_known = phase >= static_cast<std::uint32_t>(Phase::kStartup) &&
                        phase <= static_cast<std::uint32_t>(Phase::kOther);
  return is_known ? static_cast<Phase>(phase) : Phase::kOther;
}

}  // namespace

absl::StatusOr<RankRecorder> RankRecorder::Open(const std::string& path,
                                                const RecorderSpec& spec) {
  auto file = RecorderFile::Open(path, spec);
  if (!file.ok()) return file.status();
  RankRecorder rank(*std::move(file), spec);
  rank.LoadCursor();
  return rank;
}

void RankRecorder::LoadCursor() {
  auto bytes = ReadFile(CursorPath(file_), sizeof(Cursor));
  Cursor cursor;
  if (!bytes.ok() || bytes->size() != sizeof cursor) return;
  std::memcpy(&cursor, bytes->data(), sizeof cursor);
  // A damaged cursor costs a second reading of the ring, nothing else.
  if (cursor.magic != kCursorMagic || cursor.check != cursor.Check()) return;
  next_step_ = saved_step_cursor_ = cursor.steps;
  next_event_ = saved_event_cursor_ = cursor.events;
}

void RankRecorder::SaveCursor(std::uint64_t steps) {
  while (!held_.empty() && held_.front().is_reported) held_.pop_front();
  const std::uint64_t events =
      held_.empty() ? next_event_ : held_.front().number;
  if (steps == saved_step_cursor_ && events == saved_event_cursor_) return;
  Cursor cursor;
  cursor.steps = steps;
  cursor.events = events;
  cursor.check = cursor.Check();
  const int fd = ::open(CursorPath(file_).c_str(),
                        O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return;  // A full disk: read twice after a restart.
  if (::pwrite(fd, &cursor, sizeof cursor, 0) == sizeof cursor) {
    saved_step_cursor_ = steps;
    saved_event_cursor_ = events;
  }
  ::close(fd);
}

void RankRecorder::MarkSavedReported(const CheckpointShard& shard) {
  for (HeldEvent& event : held_) {
    if (event.step == shard.step && event.path == shard.path) {
      event.is_reported = true;
    }
  }
}

void RankRecorder::Say(RankReadings* out, std::string text) {
  if (++lines_said_ > kMaxLinesSaid) return;
  out->log.push_back(fmt::format(
      "recorder: run={} attempt={} rank={} {}{}", spec_.run,
      spec_.attempt.value, spec_.rank.value, text,
      lines_said_ == kMaxLinesSaid ? " (no more is said of this rank)" : ""));
}

// A copied counter may be torn in theory; two equal copies are not. Most looks
// find nothing new and need no second copy.
bool RankRecorder::ReadWriterPage() {
  srun_writer first;
  if (!file_.ReadWriter(&first)) return false;
  writer_ = first;
  if (first.steps_written == next_step_ &&
      first.events_written == next_event_) {
    return true;
  }
  for (int i = 0; i < kReadTries; ++i) {
    srun_writer second;
    if (!file_.ReadWriter(&second)) return false;
    writer_ = second;
    // Moved on between the copies: the older of two is good enough.
    if (second.steps_written - first.steps_written <= file_.step_count() &&
        second.events_written - first.events_written <= SRUN_EVENT_COUNT) {
      writer_.steps_written = first.steps_written;
      writer_.events_written = first.events_written;
      return true;
    }
    first = second;
  }
  return true;
}

RankReadings RankRecorder::Read() {
  RankReadings out;
  if (!ReadWriterPage()) {
    Say(&out, "error=\"the file was cut short; nothing is read from it\"");
    return out;
  }
  ReadSteps(&out);
  ReadEvents(&out);
  return out;
}

void RankRecorder::ReadSteps(RankReadings* out) {
  const std::uint64_t written = writer_.steps_written;
  if (written < next_step_) {
    Say(out, fmt::format("error=\"step counter went back from {} to {}\"",
                         next_step_, written));
    next_step_ = written;
    return;
  }
  if (written - next_step_ > file_.step_count()) {
    const std::uint64_t oldest = written - file_.step_count();
    Say(out, fmt::format("lost_steps={} reason=\"the ring went round\"",
                         oldest - next_step_));
    next_step_ = oldest;
  }
  for (; next_step_ < written; ++next_step_) {
    srun_step raw;
    bool is_whole = false;
    for (int i = 0; i < kReadTries && !is_whole; ++i) {
      is_whole = file_.ReadStep(next_step_, &raw);
    }
    RankStep step;
    if (is_whole && Check(raw, next_step_, &step)) {
      out->steps.push_back(std::move(step));
    } else {
      // Overtaken by the writer, or damaged: skipped, so that we go on.
      Say(out, fmt::format("skipped_record={} whole={}", next_step_, is_whole));
    }
  }
}

bool RankRecorder::Check(const srun_step& raw, std::uint64_t number,
                         RankStep* out) {
  if (raw.step < 0 || raw.step > kMaxStep) return false;
  out->rank = spec_.rank;
  out->number = number;
  out->step = Step{raw.step};
  out->end_unix_ms = static_cast<std::int64_t>(
      std::min<std::uint64_t>(raw.end_unix_ns / 1'000'000u, INT64_MAX));
  const float fixed[] = {
      raw.step_seconds,    raw.loss,          raw.grad_norm,  raw.tokens,
      raw.compute_seconds, raw.learning_rate, raw.loss_scale, raw.data_seconds};
  static_assert(sizeof fixed == sizeof out->fixed);
  std::memcpy(out->fixed, fixed, sizeof fixed);
  const std::uint32_t named =
      std::min<std::uint32_t>(raw.named_count, SRUN_NAMED_PER_STEP);
  for (std::uint32_t i = 0; i < named; ++i) {
    const std::uint32_t index = raw.named[i].name;
    if (index >= SRUN_NAME_COUNT) continue;
    // Names are entered before the first record that uses them.
    if (names_.size() <= index) names_.resize(index + 1);
    if (names_[index].empty()) names_[index] = file_.ReadName(index);
    if (names_[index].empty()) continue;
    out->named.emplace_back(names_[index], raw.named[i].value);
  }
  return true;
}

void RankRecorder::ReadEvents(RankReadings* out) {
  const std::uint64_t written = writer_.events_written;
  if (written < next_event_) {
    next_event_ = written;
    return;
  }
  if (written - next_event_ > SRUN_EVENT_COUNT) {
    const std::uint64_t oldest = written - SRUN_EVENT_COUNT;
    Say(out, fmt::format("lost_events={} reason=\"the ring went round\"",
                         oldest - next_event_));
    next_event_ = oldest;
  }
  for (; next_event_ < written; ++next_event_) {
    srun_event raw;
    bool is_whole = false;
    for (int i = 0; i < kReadTries && !is_whole; ++i) {
      is_whole = file_.ReadEvent(next_event_, &raw);
    }
    if (is_whole) {
      TakeEvent(raw, next_event_, out);
    } else {
      Say(out, fmt::format("skipped_event={}", next_event_));
    }
  }
}

void RankRecorder::TakeEvent(const srun_event& raw, std::uint64_t number,
                             RankReadings* out) {
  const std::string text(
      raw.text, std::min<std::size_t>(raw.text_bytes, sizeof(raw.text)));
  const bool is_step_good = raw.step >= kNoStep.value && raw.step <= kMaxStep;
  if (raw.kind == SRUN_EVENT_CHECKPOINT_SAVED && is_step_good) {
    if (text.empty() || text[0] != '/' ||
        text.find('\0') != std::string::npos || raw.shards < 1) {
      Say(out, fmt::format("error=\"checkpoint of step {} with path of {} "
                           "bytes and {} shards; expected an absolute path\"",
                           raw.step, text.size(), raw.shards));
      return;
    }
    CheckpointShard shard;
    shard.run = spec_.run;
    shard.attempt = spec_.attempt;
    shard.step = Step{raw.step};
    shard.rank = spec_.rank;
    shard.path = text;
    shard.shards = raw.shards;
    shard.saved_unix_ms = static_cast<std::int64_t>(
        std::min<std::uint64_t>(raw.unix_ns / 1'000'000u, INT64_MAX));
    shard.save_seconds = raw.seconds >= 0 && raw.seconds < 1e9f
                             ? static_cast<double>(raw.seconds)
                             : 0;
    held_.push_back({number, shard.step, shard.path, false});
    if (held_.size() > SRUN_EVENT_COUNT) held_.pop_front();
    out->saved.push_back(std::move(shard));
  } else if (raw.kind == SRUN_EVENT_FINISHED && is_step_good) {
    RankFinished finished;
    finished.run = spec_.run;
    finished.attempt = spec_.attempt;
    finished.rank = spec_.rank;
    finished.step = Step{raw.step};
    const bool is_hex =
        text.size() == 64 &&
        text.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (is_hex) finished.parameters_sha256 = text;
    out->finished.push_back(std::move(finished));
  } else {
    Say(out, fmt::format("error=\"event of kind {} at step {} is not known\"",
                         raw.kind, raw.step));
  }
}

RankState RankRecorder::Observe(MonoTime now) {
  if (writer_.step >= kNoStep.value && writer_.step <= kMaxStep) {
    last_step_ = Step{writer_.step};
  }
  RankState state;
  state.rank = spec_.rank;
  state.local_rank = spec_.local_rank;
  state.attempt = spec_.attempt;
  state.life = IsAttached() ? RankLife::kAlive : RankLife::kStarting;
  state.step = last_step_;
  state.phase = CheckedPhase(writer_.phase);
  state.phase_age = AgeOf(writer_.phase_mono_ns, now);
  state.progress_age = AgeOf(writer_.progress_mono_ns, now);
  state.phase_seq = writer_.phase_seq;
  state.save_ack_seq = writer_.command_ack_seq;
  srun_standstill raw;
  if (IsAttached() && state.progress_age >= kStandstill &&
      file_.ReadStandstill(&raw)) {
    TakeStandstill(raw, now, &state);
  }
  return state;
}

}  // namespace steadyrun::agent
