#include "server/detect/training_watch.h"

#include <optional>
#include <utility>

namespace steadyrun {

TrainingWatch::TrainingWatch(const DetectOptions& options)
    : nan_(options.nan),
      curve_(options.curve),
      speed_(options.speed, options.layout),
      integrity_(options.integrity, options.layout) {}

void TrainingWatch::Begin(const WatchedAttempt& attempt, Now now) {
  nan_.Begin(attempt);
  curve_.Begin(attempt, now);
  speed_.Begin(attempt, now);
  integrity_.Begin(attempt, now);
}

void TrainingWatch::ObserveRow(const StepRow& row, Now now,
                               Verdicts* verdicts) {
  if (std::optional<Finding> nan = nan_.Observe(row, now); nan.has_value()) {
    nan->detector = "nan";
    nan->onset_step = nan->step;
    nan->advice = Advice::kRollback;
    nan->rollback.below = nan->step;
    verdicts->findings.push_back(*std::move(nan));
  }
  curve_.ObserveRow(row, now, verdicts);
  speed_.ObserveRow(row, now, verdicts);
  integrity_.ObserveRow(row, now, verdicts);
}

}  // namespace steadyrun
