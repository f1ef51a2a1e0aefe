#pragma once

#include <prometheus/metric_family.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace steadyrun {

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

// Counts values into classic buckets. Not thread-safe.
class BucketCounts {
 public:
  explicit BucketCounts(std::vector<double> upper_bounds);
  void Observe(double value);
  prometheus::ClientMetric::Histogram Snapshot() const;

 private:
  std::vector<double> bounds_;
  std::vector<std::uint64_t> counts_;  // One more than bounds: +Inf.
  double sum_ = 0;
};

// The families of one scrape. Each name is declared once, with its help and
// type; then samples are added to it. Families without samples are left out.
class FamilyList {
 public:
  class Family {
   public:
    void Add(double value, const MetricLabels& labels = {});
    void Add(const BucketCounts& counts, const MetricLabels& labels = {});

   private:
    friend class FamilyList;
    explicit Family(prometheus::MetricFamily* family) : family_(family) {}
    prometheus::MetricFamily* family_;
  };

  Family Gauge(const std::string& name, const std::string& help);
  Family Counter(const std::string& name, const std::string& help);
  Family Histogram(const std::string& name, const std::string& help);

  // Prometheus text format 0.0.4, in order of declaration.
  std::string Render() const;

 private:
  Family Declare(const std::string& name, const std::string& help,
                 prometheus::MetricType type);
  // Pointers in Family stay good.
  std::vector<std::unique_ptr<prometheus::MetricFamily>> families_;
};

}  // namespace steadyrun
