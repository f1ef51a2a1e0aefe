#pragma once

// Feeds a CurveWatch point by point in tests.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "server/detect/curve/curve_watch.h"

namespace steadyrun {

class CurveFeed {
 public:
  explicit CurveFeed(const CurveOptions& options = {}) : watch_(options) {
    Begin("run", 1);
  }

  void Begin(const std::string& run, std::int64_t attempt) {
    WatchedAttempt watched;
    watched.run = run;
    watched.attempt = AttemptId{attempt};
    watched.rank_nodes = {"a", "b"};
    watch_.Begin(watched, Now());
  }

  void Point(CurvePoint point) {
    point.step = Step{step};
    step += stride;
    watch_.ObservePoint(point, Now(), &verdicts);
  }
  void Loss(double loss) {
    CurvePoint point;
    point.loss = loss;
    Point(point);
  }
  void Norm(double norm) {
    CurvePoint point;
    point.grad_norm = norm;
    Point(point);
  }
  void Scale(double scale) {
    CurvePoint point;
    point.loss_scale = scale;
    Point(point);
  }
  using Named = std::vector<std::pair<std::string, double>>;
  void Metrics(const Named& metrics) {
    std::vector<std::string> names;
    std::vector<double> values;
    for (const auto& [name, value] : metrics) {
      names.push_back(name);
      values.push_back(value);
    }
    CurvePoint point;
    point.names = names;
    point.values = values;
    Point(point);
  }

  std::vector<Finding> Of(IncidentKind kind) const {
    std::vector<Finding> found;
    for (const Finding& finding : verdicts.findings) {
      if (finding.kind == kind) found.push_back(finding);
    }
    return found;
  }
  int Cleared(IncidentKind kind) const {
    int cleared = 0;
    for (const Clearance& clearance : verdicts.cleared) {
      cleared += clearance.kind == kind ? 1 : 0;
    }
    return cleared;
  }
  CurveWatch& Watch() { return watch_; }

  std::int64_t step = 0;
  std::int64_t stride = 1;
  Verdicts verdicts;

 private:
  CurveWatch watch_;
};

// A small noise without a random source: of about unit deviation, the same
// each time, without a trend.
inline double Wiggle(std::int64_t i) {
  return static_cast<double>((i * 7919 + 13) % 23 - 11) / 6.6;
}

}  // namespace steadyrun
