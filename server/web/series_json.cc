#include "server/web/series_json.h"

#include <cmath>
#include <iterator>

#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

class Columns {
 public:
  template <typename Values>
  void AddIntegers(const char* name, const Values& values) {
    Begin(name);
    for (const auto value : values) {
      fmt::format_to(std::back_inserter(text_), "{},", value);
    }
    End();
  }
  template <typename Values>
  void AddReals(const char* name, const Values& values) {
    Begin(name);
    for (const double value : values) {
      if (std::isfinite(value)) {
        fmt::format_to(std::back_inserter(text_), "{:.7g},", value);
      } else {
        text_ += "null,";
      }
    }
    End();
  }
  std::string Finish() { return text_ + "}\n"; }

 private:
  void Begin(const char* name) {
    text_ += text_.size() > 1 ? ",\"" : "\"";
    text_ += name;
    text_ += "\":[";
  }
  void End() {
    if (text_.back() == ',') text_.pop_back();
    text_ += ']';
  }
  std::string text_ = "{";
};

}  // namespace

std::string CurveJson(const v1::StepSeries& series) {
  Columns columns;
  columns.AddIntegers("step", series.step());
  columns.AddIntegers("attempt", series.attempt());
  columns.AddReals("loss", series.loss());
  columns.AddReals("loss_min", series.loss_min());
  columns.AddReals("loss_max", series.loss_max());
  columns.AddReals("grad_norm", series.grad_norm());
  columns.AddReals("step_seconds", series.step_seconds());
  columns.AddReals("step_seconds_max", series.step_seconds_max());
  columns.AddIntegers("slowest_rank", series.slowest_rank());
  columns.AddIntegers("nonfinite_steps", series.nonfinite_steps());
  return columns.Finish();
}

std::string MetricJson(const v1::MetricSeries& series) {
  Columns columns;
  columns.AddIntegers("step", series.step());
  columns.AddIntegers("attempt", series.attempt());
  columns.AddReals("mean", series.mean());
  columns.AddReals("min", series.min());
  columns.AddReals("max", series.max());
  columns.AddIntegers("nonfinite_steps", series.nonfinite());
  return columns.Finish();
}

}  // namespace steadyrun
