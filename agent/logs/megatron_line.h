#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace steadyrun::agent {

// One iteration line of Megatron-LM, Megatron-DeepSpeed or MindSpeed:
//   iteration 10/ 1000 | consumed samples: 40 | elapsed time per iteration
//   (ms): 10462.5 | learning rate: ... | lm loss: ... | grad norm: ... |
// Fields that the line does not have are absent; "nan" and "inf" are values.
struct MegatronLine {
  std::int64_t iteration = 0;
  std::int64_t target_iterations = 0;
  std::optional<double> step_seconds;
  std::optional<double> loss;
  std::optional<double> grad_norm;
  std::optional<double> learning_rate;
  std::optional<double> loss_scale;
  std::optional<std::int64_t> consumed_samples;
  std::optional<std::int64_t> consumed_tokens;
  std::optional<std::int64_t> global_batch_size;
  std::optional<std::int64_t> skipped_iterations;
  std::optional<std::int64_t> nan_iterations;
  std::optional<double> tflops;
};

// Absent if the line is not an iteration line. Linear in the line's length.
std::optional<MegatronLine> ParseMegatronLine(std::string_view line);

// What the line means, as values of the step: with loss scaling a skipped
// iteration overflows on purpose, so its gradient says nothing; an iteration
// counted as NaN has its loss left out by Megatron.
void InterpretMegatronLine(MegatronLine* line);

}  // namespace steadyrun::agent
