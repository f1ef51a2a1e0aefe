#include "agent/logs/step_line.h"

#include <re2/re2.h>

#include <algorithm>

#include "agent/logs/megatron_line.h"

namespace steadyrun::agent {
namespace {

std::optional<StepLine> ParseMegatron(std::string_view line) {
  std::optional<MegatronLine> parsed = ParseMegatronLine(line);
  if (!parsed) return std::nullopt;
  InterpretMegatronLine(&*parsed);
  StepLine result;
  result.step = parsed->iteration;
  const auto add = [&](std::string_view name, const auto& value) {
    if (value) result.values.emplace_back(name, static_cast<double>(*value));
  };
  add("step_time", parsed->step_seconds);
  add("loss", parsed->loss);
  add("grad_norm", parsed->grad_norm);
  add("learning_rate", parsed->learning_rate);
  add("loss_scale", parsed->loss_scale);
  add("consumed_samples", parsed->consumed_samples);
  add("consumed_tokens", parsed->consumed_tokens);
  add("global_batch_size", parsed->global_batch_size);
  add("skipped_iterations", parsed->skipped_iterations);
  add("nan_iterations", parsed->nan_iterations);
  add("tflops", parsed->tflops);
  return result;
}

struct StandardName {
  std::string_view printed;
  std::string_view name;
};

// verl's, TRL's, OpenRLHF's, OLMo's and Megatron's own names of what every
// trainer has; where a line has several, the first counts.
constexpr StandardName kStandardNames[] = {
    {"train/loss", "loss"},
    {"actor/pg_loss", "loss"},
    {"policy_loss", "loss"},
    {"train/CrossEntropyLoss", "loss"},
    {"train/CE loss", "loss"},
    {"train/grad_norm", "grad_norm"},
    {"actor/grad_norm", "grad_norm"},
    {"actor_grad_norm", "grad_norm"},
    {"optim/total_grad_norm", "grad_norm"},
    {"optim/total grad norm", "grad_norm"},
    {"timing_s/step", "step_time"},
    {"perf/time_per_step", "step_time"},
    {"timing/all", "step_time"},    // MindSpeed-RL.
    {"timing/total", "step_time"},  // OpenRLHF.
    {"train/time(s)", "step_time"},
    {"iteration-time", "step_time"},
    {"actor/lr", "learning_rate"},
    {"actor_lr", "learning_rate"},
    {"train/learning_rate", "learning_rate"},
    {"optim/learning_rate_group0", "learning_rate"},
    {"optim/LR (group 0)", "learning_rate"},
    {"perf/total_num_tokens", "tokens"},
};

bool HasName(const StepLine& line, std::string_view name) {
  return std::any_of(line.values.begin(), line.values.end(),
                     [&](const auto& value) { return value.first == name; });
}

}  // namespace

void AddStandardNames(StepLine* line) {
  for (const StandardName& standard : kStandardNames) {
    const auto it = std::find_if(
        line->values.begin(), line->values.end(),
        [&](const auto& value) { return value.first == standard.printed; });
    if (it == line->values.end() || HasName(*line, standard.name)) continue;
    const double value = it->second;
    line->values.emplace_back(standard.name, value);
  }
}

std::optional<StepLine> ParseStepLine(LogFormat format, std::string_view line) {
  switch (format) {
    case LogFormat::kMegatron:
      return ParseMegatron(line);
    case LogFormat::kMindFormers:
      return ParseMindFormersLine(line);
    case LogFormat::kMindSpeed:
      return ParseMindSpeedLine(line);
    case LogFormat::kVerl:
      return ParseVerlLine(line);
    case LogFormat::kOpenRlhf:
      return ParseOpenRlhfLine(line);
    case LogFormat::kDeepSpeed:
      return ParseDeepSpeedLine(line);
    case LogFormat::kHuggingFace:
      return ParseHuggingFaceLine(line);
    case LogFormat::kOlmo:
      return ParseOlmoLine(line);
    case LogFormat::kMlPerf:
      return ParseMlPerfLine(line);
    case LogFormat::kNanoGpt:
      return ParseNanoGptLine(line);
    case LogFormat::kLlmC:
      return ParseLlmCLine(line);
    case LogFormat::kJsonLines:
      return ParseJsonLine(line);
  }
  return std::nullopt;
}

namespace {

// "Loading shards: 25%|##": a bar of something else than the training, which
// draws its own without a name.
bool IsNamedBar(std::string_view before) {
  const std::size_t percent = before.rfind("%|");
  if (percent == std::string_view::npos) return false;
  const std::size_t end = before.find_last_not_of(" 0123456789", percent - 1);
  return percent > 0 && end != std::string_view::npos && before[end] == ':';
}

}  // namespace

std::optional<ProgressBar> FindProgressBar(std::string_view line) {
  static const RE2 kBar(R"re((\d{1,12})/(\d{1,12}) \[\d)re", RE2::Latin1);
  if (line.find("it") == std::string_view::npos) return std::nullopt;
  re2::StringPiece rest(line.data(), line.size());
  std::optional<ProgressBar> last;
  ProgressBar bar;
  std::size_t begin = 0;
  while (RE2::FindAndConsume(&rest, kBar, &bar.done, &bar.total)) {
    const std::size_t end = line.size() - rest.size();
    if (!IsNamedBar(line.substr(begin, end - begin))) last = bar;
    begin = end;
  }
  return last;
}

std::string_view LineSource(std::string_view line) {
  static const RE2 kSource(
      R"re(^\s*(\d{1,6}|\[(?:default|rank)\d{1,6}\]): ?)re", RE2::Latin1);
  re2::StringPiece source;
  if (!RE2::PartialMatch(re2::StringPiece(line.data(), line.size()), kSource,
                         &source)) {
    return {};
  }
  return {source.data(), source.size()};
}

}  // namespace steadyrun::agent
