#include "agent/recorder/recorder_set.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "agent/recorder/rank_recorder.h"
#include "agent/recorder/step_join.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

using AttemptKey = std::pair<RunId, AttemptId>;

// One rank and what was last said of it.
struct Entry {
  explicit Entry(RankRecorder r) : recorder(std::move(r)) {}
  RankRecorder recorder;
  std::vector<RankFinished> finished;  // Told after the rank's last steps.
  std::int32_t pid = 0;                // Of the rank; 0 not yet known.
  char process_state = 0;
  double cpu_seconds = 0;
  std::optional<MonoTime> sampled;
  std::optional<MonoTime> observed;
  Step log_step = kNoStep;  // From a followed log.
  MonoTime log_progress{};
};

struct Group {
  StepJoin join;
  std::map<Rank, Entry> ranks;
};

}  // namespace

class RecorderSet::Impl {
 public:
  Impl(RecorderSetOptions options, ProcessTable processes)
      : options_(options), processes_(std::move(processes)) {}

  absl::Status Add(const std::string& path, const RecorderSpec& spec) {
    auto recorder = RankRecorder::Open(path, spec);
    if (!recorder.ok()) return recorder.status();
    Group& group = GroupOf(spec.run, spec.attempt);
    group.join.AddRank(spec.rank);
    group.ranks.insert_or_assign(spec.rank, Entry(*std::move(recorder)));
    return absl::OkStatus();
  }

  Entry* Find(const RunId& run, AttemptId attempt, Rank rank) {
    const auto group = groups_.find({run, attempt});
    if (group == groups_.end()) return nullptr;
    const auto entry = group->second.ranks.find(rank);
    return entry == group->second.ranks.end() ? nullptr : &entry->second;
  }

  RecorderReadings Remove(const RunId& run, AttemptId attempt, Rank rank,
                          Now now) {
    RecorderReadings out;
    Entry* entry = Find(run, attempt, rank);
    if (entry == nullptr) return out;
    const auto group = groups_.find({run, attempt});
    Drain(*entry, group->second.join, now, &out);
    TakeBlocks(group->second, now, /*flush=*/true, &out);
    group->second.join.RemoveRank(rank);
    group->second.ranks.erase(rank);
    if (group->second.join.IsEmpty()) groups_.erase(group);
    return out;
  }

  RecorderReadings Poll(Now now) {
    RecorderReadings out;
    for (auto& [key, group] : groups_) {
      for (auto& [rank, entry] : group.ranks) {
        Drain(entry, group.join, now, &out);
      }
      TakeBlocks(group, now, /*flush=*/false, &out);
      for (auto& [rank, entry] : group.ranks) {
        if (auto state = ObserveIfDue(entry, now.mono)) {
          out.events.push_back(RankObserved{key.first, *std::move(state)});
        }
      }
    }
    return out;
  }

  void CommitCursors() {
    for (auto& [key, group] : groups_) {
      for (auto& [rank, entry] : group.ranks) {
        const auto held = group.join.OldestHeld(rank);
        entry.recorder.SaveCursor(held.value_or(entry.recorder.next_step()));
      }
    }
  }

  SaveWordWritten WriteSave(const WriteSaveWord& order, Now now) {
    SaveWordWritten answer;
    answer.command_id = order.command_id;
    answer.run = order.run;
    answer.attempt = order.attempt;
    const auto group = groups_.find({order.run, order.attempt});
    if (group == groups_.end() || group->second.ranks.empty()) {
      answer.error = fmt::format(
          "no rank of run '{}' attempt {} lives here with a flight recorder",
          order.run, order.attempt.value);
      return answer;
    }
    // All or none: a rank that cannot save makes the checkpoint useless.
    for (auto& [rank, entry] : group->second.ranks) {
      if (!CanSave(rank, entry, order.save, &answer)) return answer;
    }
    for (auto& [rank, entry] : group->second.ranks) {
      if (absl::Status status = Write(entry, order.save, now); !status.ok()) {
        answer.error = std::string(status.message());
        return answer;
      }
    }
    // A rank may have passed the step while the words were written.
    for (auto& [rank, entry] : group->second.ranks) {
      srun_writer writer;
      const bool is_late = entry.recorder.file().ReadWriter(&writer) &&
                           writer.step >= order.save.step.value &&
                           writer.command_ack_seq < order.save.save_seq;
      if (is_late) SetMissed(rank, writer.step, order.save, &answer);
    }
    return answer;
  }

  std::size_t size() const {
    std::size_t count = 0;
    for (const auto& [key, group] : groups_) count += group.ranks.size();
    return count;
  }

 private:
  Group& GroupOf(const RunId& run, AttemptId attempt) {
    return groups_
        .try_emplace(AttemptKey{run, attempt},
                     Group{StepJoin(run, attempt, options_.join_deadline), {}})
        .first->second;
  }

  static void Drain(Entry& entry, StepJoin& join, Now now,
                    RecorderReadings* out) {
    RankReadings read = entry.recorder.Read();
    for (RankStep& step : read.steps) join.Add(std::move(step), now.mono);
    std::move(read.finished.begin(), read.finished.end(),
              std::back_inserter(entry.finished));
    std::move(read.saved.begin(), read.saved.end(),
              std::back_inserter(out->saved));
    std::move(read.log.begin(), read.log.end(), std::back_inserter(out->log));
  }

  static void TakeBlocks(Group& group, Now now, bool flush,
                         RecorderReadings* out) {
    for (StepBlock& block : group.join.Take(now.mono, flush)) {
      out->events.push_back(StepsRead{std::move(block)});
    }
    for (auto& [rank, entry] : group.ranks) {
      if (entry.finished.empty() || group.join.OldestHeld(rank)) continue;
      for (RankFinished& finished : entry.finished) {
        out->events.push_back(RankSaidFinished{std::move(finished)});
      }
      entry.finished.clear();
    }
  }

  std::optional<RankState> ObserveIfDue(Entry& entry, MonoTime now) {
    if (!entry.sampled || now - *entry.sampled >= options_.process_interval) {
      entry.sampled = now;
      Sample(entry);
      entry.recorder.file().WriteLook(
          static_cast<std::uint64_t>(now.time_since_epoch().count()));
    }
    if (entry.observed && now - *entry.observed < options_.observe_interval) {
      return std::nullopt;
    }
    entry.observed = now;
    RankState state = entry.recorder.Observe(now);
    state.pid = entry.pid;
    state.process_state = entry.process_state;
    state.cpu_seconds = entry.cpu_seconds;
    if (!entry.recorder.IsAttached() && entry.log_step > kNoStep) {
      state.life = RankLife::kAlive;
      state.phase = Phase::kStep;
      state.step = entry.log_step;
      state.progress_age = now - entry.log_progress;
      state.phase_age = state.progress_age;
    }
    return state;
  }

  // The rank may be a wrapper around the training process: a stop of either
  // stops the training. The trainer's own word for its pid counts only if it
  // is in the rank's session.
  void Sample(Entry& entry) {
    if (entry.pid == 0) return;
    const auto rank = processes_.Stat(entry.pid);
    if (!rank.ok()) return;
    entry.process_state = rank->state;
    entry.cpu_seconds = rank->cpu_seconds;
    const std::int32_t writer = entry.recorder.writer_pid();
    if (writer <= 0 || writer == entry.pid) return;
    const auto trainer = processes_.Stat(writer);
    if (!trainer.ok() || trainer->session != rank->session) return;
    if (rank->state != 'T') entry.process_state = trainer->state;
    entry.cpu_seconds += trainer->cpu_seconds;
  }

  static void SetMissed(Rank rank, std::int64_t step, const SaveCommand& save,
                        SaveWordWritten* answer) {
    answer->is_missed = true;
    answer->error =
        fmt::format("rank {} has done step {}, asked to save at the end of {}",
                    rank.value, step, save.step.value);
  }

  static bool CanSave(Rank rank, const Entry& entry, const SaveCommand& save,
                      SaveWordWritten* answer) {
    srun_writer writer;
    srun_command command;
    if (!entry.recorder.file().ReadWriter(&writer) ||
        !entry.recorder.file().ReadCommand(&command)) {
      answer->error =
          fmt::format("flight recorder of rank {} was cut short", rank.value);
    } else if (writer.pid == 0) {
      answer->error = fmt::format(
          "rank {} has not called steadyrun.init(): its code cannot be told "
          "to save",
          rank.value);
    } else if (writer.step >= save.step.value &&
               writer.command_ack_seq < save.save_seq) {
      SetMissed(rank, writer.step, save, answer);
    } else if (command.seq > save.save_seq) {
      answer->error = fmt::format(
          "rank {} already has save word {}, asked to write the older {}",
          rank.value, command.seq, save.save_seq);
    }
    return answer->error.empty();
  }

  static absl::Status Write(const Entry& entry, const SaveCommand& save,
                            Now now) {
    srun_command command;
    if (entry.recorder.file().ReadCommand(&command) &&
        command.seq == save.save_seq) {
      return absl::OkStatus();  // Sent again.
    }
    command = srun_command{};
    command.seq = save.save_seq;
    command.action = save.then_stop ? SRUN_ACTION_SAVE_STOP : SRUN_ACTION_SAVE;
    command.step = save.step.value;
    command.agent_mono_ns =
        static_cast<std::uint64_t>(now.mono.time_since_epoch().count());
    return entry.recorder.file().WriteCommand(command);
  }

  RecorderSetOptions options_;
  ProcessTable processes_;
  std::map<AttemptKey, Group> groups_;
};

RecorderSet::RecorderSet(RecorderSetOptions options, ProcessTable processes)
    : impl_(std::make_unique<Impl>(options, std::move(processes))) {}
RecorderSet::~RecorderSet() = default;

absl::Status RecorderSet::Add(const std::string& path,
                              const RecorderSpec& spec) {
  return impl_->Add(path, spec);
}

void RecorderSet::SetPid(const RunId& run, AttemptId attempt, Rank rank,
                         std::int32_t pid) {
  if (Entry* entry = impl_->Find(run, attempt, rank)) entry->pid = pid;
}

void RecorderSet::SetLogStep(const RunId& run, AttemptId attempt, Rank rank,
                             Step step, Now now) {
  Entry* entry = impl_->Find(run, attempt, rank);
  if (entry == nullptr || entry->log_step == step) return;
  entry->log_step = step;
  entry->log_progress = now.mono;
}

RecorderReadings RecorderSet::Remove(const RunId& run, AttemptId attempt,
                                     Rank rank, Now now) {
  return impl_->Remove(run, attempt, rank, now);
}

RecorderReadings RecorderSet::Poll(Now now) { return impl_->Poll(now); }

void RecorderSet::CommitCursors() { impl_->CommitCursors(); }

void RecorderSet::MarkSavedReported(const CheckpointShard& shard) {
  if (Entry* entry = impl_->Find(shard.run, shard.attempt, shard.rank)) {
    entry->recorder.MarkSavedReported(shard);
  }
}

SaveWordWritten RecorderSet::WriteSave(const WriteSaveWord& order, Now now) {
  return impl_->WriteSave(order, now);
}

std::size_t RecorderSet::size() const { return impl_->size(); }

}  // namespace steadyrun::agent
