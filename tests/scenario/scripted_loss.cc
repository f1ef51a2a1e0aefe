#include "tests/scenario/scripted_loss.h"

#include <cmath>
#include <cstdio>

#include "server/recovery/command_derivation.h"
#include "server/recovery/training_rollback.h"

namespace steadyrun {
namespace {

constexpr double kFlat = 2.5;
constexpr double kNoise = 0.02;

// In [-1, 1], the same for the same step: the fraction of a golden-ratio walk.
double Noise(std::int64_t step) {
  const double walk = static_cast<double>(step) * 0.6180339887498949;
  return 2 * (walk - std::floor(walk)) - 1;
}

}  // namespace

void ScriptedLoss::Begin(
    const std::map<std::string, std::string>& environment) {
  is_high_ = false;
  skips_.clear();
  const auto skip = environment.find(kSkipVariable);
  if (skip == environment.end()) return;
  const char* text = skip->second.c_str();
  long long from = 0;
  long long to = 0;
  for (int used = 0; std::sscanf(text, "%lld-%lld%n", &from, &to, &used) == 2;
       text += used + (text[used] == ',' ? 1 : 0)) {
    skips_.push_back({Step{from}, Step{to}});
  }
}

double ScriptedLoss::At(std::int64_t step) {
  if (bad_.data < 0) return kFlat;
  const std::int64_t data =
      bad_.is_gone_after_rollback ? DataOfStep(skips_, Step{step}) : step;
  is_high_ |= data == bad_.data;
  const double fall = 3 * std::exp(-static_cast<double>(step) / 150);
  return 2 + fall + kNoise * Noise(step) + (is_high_ ? bad_.height : 0);
}

}  // namespace steadyrun
