#pragma once

#include <cstdint>

namespace steadyrun::bench {

struct Seeds {
  std::uint64_t first;
  std::uint64_t last;  // Inclusive.
};

// Each prints its part of the table.
void StragglerHealthy(const Seeds& seeds);
void StragglerRecall(const Seeds& seeds);
void StragglerShapes(const Seeds& seeds);
void StragglerWork(const Seeds& seeds);
void Slowdowns(const Seeds& seeds);
void DataStalls(const Seeds& seeds);
void Corruption(const Seeds& seeds);
void Cost();

}  // namespace steadyrun::bench
