#include "agent/logs/megatron_line.h"

#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <string>

namespace steadyrun::agent {
namespace {

constexpr std::int64_t kMaxIteration = 1'000'000'000'000;

std::string_view Trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  const std::size_t end = text.find_last_not_of(" \t\r");
  return text.substr(begin, end - begin + 1);
}

template <typename T>
std::optional<T> ParseWhole(std::string_view text) {
  T value{};
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

// Finds the last "iteration N/ M |": a torn line may hold the begin of one
// before it.
std::optional<std::string_view> FindHeader(std::string_view line,
                                           MegatronLine* out) {
  // Before it: nothing, a blank, a launcher's or a clock's bracket or colon,
  // or bytes of a progress bar; not a word of which it is the end.
  static const RE2 kHeader(
      R"re((?:^|[^A-Za-z0-9_])iteration[ ]+(\d{1,13})/[ ]*(\d{1,13})[ ]*\|)re",
      RE2::Latin1);
  re2::StringPiece rest(line.data(), line.size());
  std::int64_t iteration = 0;
  std::int64_t target = 0;
  bool is_found = false;
  std::string_view fields;
  while (RE2::FindAndConsume(&rest, kHeader, &iteration, &target)) {
    is_found = true;
    out->iteration = iteration;
    out->target_iterations = target;
    fields = {rest.data(), rest.size()};
  }
  // A script that is echoed into the log has its examples behind '#'.
  const std::string_view text = Trim(line);
  if (!is_found || text.front() == '#' || out->iteration > kMaxIteration ||
      out->target_iterations > kMaxIteration) {
    return std::nullopt;
  }
  return fields;
}

void TakeField(std::string_view key, std::string_view value,
               MegatronLine* out) {
  const auto number = [&] { return ParseWhole<double>(value); };
  const auto count = [&] { return ParseWhole<std::int64_t>(value); };
  if (key == "elapsed time per iteration (ms)") {
    if (auto ms = number()) out->step_seconds = *ms / 1e3;
  } else if (key == "elapsed time per iteration (s)") {
    out->step_seconds = number();
  } else if (key == "lm loss" || key == "lm-loss" || key == "loss") {
    out->loss = number();
  } else if (key == "grad norm") {
    out->grad_norm = number();
  } else if (key == "learning rate") {
    out->learning_rate = number();
  } else if (key == "loss scale") {
    out->loss_scale = number();
  } else if (key == "consumed samples") {
    out->consumed_samples = count();
  } else if (key == "consumed tokens") {
    out->consumed_tokens = count();
  } else if (key == "global batch size") {
    out->global_batch_size = count();
  } else if (key == "number of skipped iterations") {
    out->skipped_iterations = count();
  } else if (key == "number of nan iterations") {
    out->nan_iterations = count();
  } else if (key == "TFLOPs" || key == "throughput per GPU (TFLOP/s/GPU)") {
    out->tflops = number();
  }
}

}  // namespace

std::optional<MegatronLine> ParseMegatronLine(std::string_view line) {
  // Most lines of a log are none; the search for the word is the cheapest.
  if (line.find("iteration") == std::string_view::npos) return std::nullopt;
  MegatronLine result;
  auto fields = FindHeader(line, &result);
  if (!fields) return std::nullopt;
  while (!fields->empty()) {
    const std::size_t end = std::min(fields->find('|'), fields->size());
    const std::string_view field = fields->substr(0, end);
    fields->remove_prefix(std::min(end + 1, fields->size()));
    const std::size_t colon = field.rfind(':');
    if (colon == std::string_view::npos) continue;
    TakeField(Trim(field.substr(0, colon)), Trim(field.substr(colon + 1)),
              &result);
  }
  // Lines about something else of an iteration have none of these.
  if (!result.step_seconds && !result.loss && !result.learning_rate) {
    return std::nullopt;
  }
  return result;
}

void InterpretMegatronLine(MegatronLine* line) {
  if (line->skipped_iterations.value_or(0) > 0) line->grad_norm.reset();
  if (line->nan_iterations.value_or(0) > 0 && !line->loss) {
    line->loss = std::numeric_limits<double>::quiet_NaN();
  }
}

}  // namespace steadyrun::agent
