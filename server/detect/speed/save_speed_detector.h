#pragma once

// Finds that saving a checkpoint takes much longer than it did.
//
// Model: the longest save of any rank, against the median of the last 16 that
// were not slow. Slow is more than factor times the median, and by more than
// `minimum`; two in a row are told, as one alone is a busy file system. Three
// usual saves are needed first. Over with the first save that is not slow.
// Sixteen slow ones in a row are the new usual: the condition is then over,
// with that reason. The first save of an attempt is not kept: it makes the
// folders and fills caches.

#include <array>
#include <cstddef>

#include "base/clock.h"
#include "server/detect/speed/options.h"
#include "server/detect/speed/watched_world.h"

namespace steadyrun {

class SaveSpeedDetector {
 public:
  explicit SaveSpeedDetector(const SaveSpeedOptions& options)
      : options_(options) {}

  void Begin();
  // A checkpoint of `step` is complete; `seconds`: the longest of the ranks.
  // Ignores what is not finite and positive.
  void Observe(Step step, double seconds, const WatchedWorld& world, Now now,
               Verdicts* verdicts);

 private:
  static constexpr std::size_t kKept = 16;

  double Usual() const;
  void Keep(double seconds);
  void Clear(const char* why, const WatchedWorld& world, Verdicts* verdicts);

  SaveSpeedOptions options_;
  std::array<double, kKept> usual_{};
  std::size_t kept_ = 0;  // Ever.
  std::array<double, kKept> slow_{};
  std::size_t slow_count_ = 0;  // In a row.
  Step onset_ = kNoStep;
  bool is_first_ = true;
  bool is_told_ = false;
};

}  // namespace steadyrun
