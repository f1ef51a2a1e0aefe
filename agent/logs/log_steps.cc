#include "agent/logs/log_steps.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <optional>

#include "agent/logs/megatron_line.h"
#include "base/file.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

LogPosition LoadPosition(const std::string& path) {
  LogPosition position;
  const auto text = ReadFile(path, 128);
  unsigned long long inode = 0;
  unsigned long long offset = 0;
  if (text.ok() &&
      std::sscanf(text->c_str(), "%llu %llu\n", &inode, &offset) == 2) {
    position = {inode, offset};
  }
  return position;
}

void AddColumn(std::uint32_t metric, std::optional<double> value,
               StepBlock* block) {
  if (!value) return;
  block->metrics.push_back(metric);
  block->values.push_back(static_cast<float>(*value));
}

void AddNamed(std::string_view name, std::optional<double> value,
              StepBlock* block) {
  if (!value) return;
  const auto index = static_cast<std::uint32_t>(block->names.size());
  block->names.emplace_back(name);
  AddColumn(kFirstNamedMetric + index, value, block);
}

std::optional<double> AsDouble(std::optional<std::int64_t> count) {
  if (!count) return std::nullopt;
  return static_cast<double>(*count);
}

}  // namespace

LogStepReader::LogStepReader(RunId run, AttemptId attempt, Rank rank,
                             std::string path, LogFollowerOptions options)
    : run_(std::move(run)),
      attempt_(attempt),
      rank_(rank),
      cursor_path_(path + ".cursor"),
      committed_(LoadPosition(cursor_path_)),
      follower_(std::move(path), options, committed_) {}

std::vector<Event> LogStepReader::Poll(Now now) {
  return Read(follower_.Poll(now.mono), now);
}

std::vector<Event> LogStepReader::Drain(Now now) {
  return Read(follower_.Drain(now.mono), now);
}

std::vector<Event> LogStepReader::Read(const std::vector<LogLine>& lines,
                                       Now now) {
  std::vector<Event> events;
  for (const LogLine& line : lines) {
    auto parsed = ParseMegatronLine(line.text);
    if (!parsed) continue;
    InterpretMegatronLine(&*parsed);
    StepBlock block;
    block.run = run_;
    block.attempt = attempt_;
    block.step = Step{parsed->iteration};
    block.ranks = {static_cast<std::uint32_t>(rank_.value)};
    block.end_unix_ms = ToUnixMillis(now.wall);
    const auto metric = [](Metric m) { return static_cast<std::uint32_t>(m); };
    AddColumn(metric(Metric::kStepSeconds), parsed->step_seconds, &block);
    AddColumn(metric(Metric::kLoss), parsed->loss, &block);
    AddColumn(metric(Metric::kGradNorm), parsed->grad_norm, &block);
    AddColumn(metric(Metric::kLearningRate), parsed->learning_rate, &block);
    AddColumn(metric(Metric::kLossScale), parsed->loss_scale, &block);
    AddNamed("skipped_iterations", AsDouble(parsed->skipped_iterations),
             &block);
    AddNamed("nan_iterations", AsDouble(parsed->nan_iterations), &block);
    AddNamed("consumed_samples", AsDouble(parsed->consumed_samples), &block);
    AddNamed("tflops", parsed->tflops, &block);
    last_step_ = block.step;
    events.push_back(StepsRead{std::move(block)});
  }
  return events;
}

void LogStepReader::CommitCursor() {
  const LogPosition position = follower_.position();
  if (position == committed_) return;
  const std::string text =
      fmt::format("{} {}\n", position.inode, position.offset);
  // A full disk costs a second reading after a restart, nothing else.
  if (WriteFileAtomically(cursor_path_, text, 0600).ok()) {
    committed_ = position;
  }
}

bool IsKnownLogFormat(std::string_view format) {
  return format.empty() || format == "megatron";
}

}  // namespace steadyrun::agent
