#include "agent/logs/line_values.h"

#include <algorithm>
#include <optional>

namespace steadyrun::agent {
namespace {

// As the protocol's check (proto/messages/convert.cc).
constexpr std::size_t kMaxNameBytes = 64;

std::optional<Metric> StandardMetric(std::string_view name) {
  constexpr std::pair<std::string_view, Metric> kStandard[] = {
      {"loss", Metric::kLoss},
      {"grad_norm", Metric::kGradNorm},
      {"step_time", Metric::kStepSeconds},
      {"learning_rate", Metric::kLearningRate},
      {"loss_scale", Metric::kLossScale},
      {"tokens", Metric::kTokens},
  };
  for (const auto& [standard, metric] : kStandard) {
    if (standard == name) return metric;
  }
  return std::nullopt;
}

// "optim/LR (group 0)" as "optim/LR_group_0"; empty: cannot be sent.
std::string WireName(std::string_view printed) {
  constexpr std::string_view kSigns = "_./-@";
  std::string name;
  for (const char c : printed) {
    const bool is_plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                          (c >= 'A' && c <= 'Z') ||
                          kSigns.find(c) != std::string_view::npos;
    if (is_plain) {
      name += c;
    } else if (!name.empty() && name.back() != '_') {
      name += '_';
    }
  }
  while (name.ends_with('_')) name.pop_back();
  return name.size() <= kMaxNameBytes ? name : std::string();
}

// What no detector reads, where there are too many.
bool IsDetail(std::string_view name) {
  for (const std::string_view begin :
       {"timing", "perf/", "global_seqlen/", "prompt_length/", "num_turns/"}) {
    if (name.starts_with(begin)) return true;
  }
  for (const std::string_view end : {"/max", "/min", "_max", "_min"}) {
    if (name.ends_with(end)) return true;
  }
  return false;
}

}  // namespace

void MergeValues(const NamedValues& more, NamedValues* values) {
  for (const auto& value : more) {
    const auto it = std::find_if(
        values->begin(), values->end(),
        [&](const auto& known) { return known.first == value.first; });
    if (it == values->end()) {
      values->push_back(value);
    } else {
      it->second = value.second;
    }
  }
}

void FillBlock(const NamedValues& values, StepBlock* block) {
  for (const auto& [name, value] : values) {
    const auto metric = StandardMetric(name);
    if (!metric) continue;
    block->metrics.push_back(static_cast<std::uint32_t>(*metric));
    block->values.push_back(static_cast<float>(value));
  }
  for (const bool details : {false, true}) {
    for (const auto& [printed, value] : values) {
      if (block->names.size() >= kMaxNamedMetrics) return;
      if (StandardMetric(printed) || IsDetail(printed) != details) continue;
      std::string name = WireName(printed);
      if (name.empty() ||
          std::ranges::find(block->names, name) != block->names.end()) {
        continue;
      }
      block->metrics.push_back(kFirstNamedMetric +
                               static_cast<std::uint32_t>(block->names.size()));
      block->names.push_back(std::move(name));
      block->values.push_back(static_cast<float>(value));
    }
  }
}

}  // namespace steadyrun::agent
