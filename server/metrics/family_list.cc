#include "server/metrics/family_list.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <sstream>

#include "base/check.h"

namespace steadyrun {

BucketCounts::BucketCounts(std::vector<double> upper_bounds)
    : bounds_(std::move(upper_bounds)), counts_(bounds_.size() + 1) {
  SR_CHECK(std::is_sorted(bounds_.begin(), bounds_.end()));
}

void BucketCounts::Observe(double value) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  ++counts_[static_cast<std::size_t>(bucket - bounds_.begin())];
  sum_ += value;
}

prometheus::ClientMetric::Histogram BucketCounts::Snapshot() const {
  prometheus::ClientMetric::Histogram histogram;
  std::uint64_t cumulative = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    cumulative += counts_[i];
    prometheus::ClientMetric::Bucket bucket;
    bucket.cumulative_count = cumulative;
    bucket.upper_bound = i < bounds_.size()
                             ? bounds_[i]
                             : std::numeric_limits<double>::infinity();
    histogram.bucket.push_back(bucket);
  }
  histogram.sample_count = cumulative;
  histogram.sample_sum = sum_;
  return histogram;
}

namespace {

prometheus::ClientMetric* NewMetric(prometheus::MetricFamily* family,
                                    const MetricLabels& labels) {
  family->metric.emplace_back();
  for (const auto& [name, value] : labels) {
    family->metric.back().label.push_back({name, value});
  }
  return &family->metric.back();
}

}  // namespace

void FamilyList::Family::Add(double value, const MetricLabels& labels) {
  prometheus::ClientMetric* metric = NewMetric(family_, labels);
  if (family_->type == prometheus::MetricType::Counter) {
    metric->counter.value = value;
  } else {
    SR_CHECK(family_->type == prometheus::MetricType::Gauge);
    metric->gauge.value = value;
  }
}

void FamilyList::Family::Add(const BucketCounts& counts,
                             const MetricLabels& labels) {
  SR_CHECK(family_->type == prometheus::MetricType::Histogram);
  NewMetric(family_, labels)->histogram = counts.Snapshot();
}

FamilyList::Family FamilyList::Declare(const std::string& name,
                                       const std::string& help,
                                       prometheus::MetricType type) {
  for (const auto& family : families_) SR_CHECK(family->name != name);
  families_.push_back(std::make_unique<prometheus::MetricFamily>());
  families_.back()->name = name;
  families_.back()->help = help;
  families_.back()->type = type;
  return Family(families_.back().get());
}

FamilyList::Family FamilyList::Gauge(const std::string& name,
                                     const std::string& help) {
  return Declare(name, help, prometheus::MetricType::Gauge);
}

FamilyList::Family FamilyList::Counter(const std::string& name,
                                       const std::string& help) {
  return Declare(name, help, prometheus::MetricType::Counter);
}

FamilyList::Family FamilyList::Histogram(const std::string& name,
                                         const std::string& help) {
  return Declare(name, help, prometheus::MetricType::Histogram);
}

std::string FamilyList::Render() const {
  std::vector<prometheus::MetricFamily> filled;
  for (const auto& family : families_) {
    if (!family->metric.empty()) filled.push_back(*family);
  }
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, filled);
  return out.str();
}

}  // namespace steadyrun
