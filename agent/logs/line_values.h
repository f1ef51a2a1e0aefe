#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/messages/messages.h"

namespace steadyrun::agent {

using NamedValues = std::vector<std::pair<std::string, double>>;

// Adds what a line says to the values of its step; the later word counts.
void MergeValues(const NamedValues& more, NamedValues* values);

// Writes the values of one rank into `block`: loss, grad_norm, step_time,
// learning_rate, loss_scale and tokens as standard metrics, the others by
// name, as far as the protocol takes names and that many of them. RL trainers
// print more than a hundred: timings and extremes are left out first.
void FillBlock(const NamedValues& values, StepBlock* block);

}  // namespace steadyrun::agent
