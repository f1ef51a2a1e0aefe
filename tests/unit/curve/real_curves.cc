#include "tests/unit/curve/real_curves.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

namespace steadyrun {
namespace {

std::vector<std::string> Split(const std::string& line) {
  std::vector<std::string> cells;
  std::stringstream stream(line);
  std::string cell;
  while (std::getline(stream, cell, ',')) cells.push_back(cell);
  if (line.ends_with(',')) cells.emplace_back();
  return cells;
}

double ParseCell(const std::string& cell) {
  if (cell.empty()) return std::numeric_limits<double>::quiet_NaN();
  return std::strtod(cell.c_str(), nullptr);
}

std::optional<double> Present(const std::vector<double>& row,
                              std::size_t column) {
  if (column == RealCurve::kNone || std::isnan(row[column])) {
    return std::nullopt;
  }
  return row[column];
}

}  // namespace

CurvePoint RealCurve::Point(std::size_t row) const {
  CurvePoint point;
  point.step = Step{steps[row]};
  point.loss = Present(values[row], loss);
  point.grad_norm = Present(values[row], grad_norm);
  point.loss_scale = Present(values[row], loss_scale);
  point.names = names;
  point.values = values[row];
  return point;
}

std::filesystem::path RealCurvesFolder() {
  const char* data = std::getenv("STEADYRUN_DATA");
  std::filesystem::path folder =
      data != nullptr ? std::filesystem::path(data) : "../shared/data";
  folder /= "curves";
  return std::filesystem::is_directory(folder) ? folder
                                               : std::filesystem::path();
}

std::vector<std::string> RealCurveNames(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  constexpr std::string_view kLabels = ".labels.csv";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string file = entry.path().filename().string();
    if (!file.ends_with(kLabels)) continue;
    names.push_back(file.substr(0, file.size() - kLabels.size()));
  }
  std::ranges::sort(names);
  return names;
}

RealCurve ReadCurve(const std::filesystem::path& folder,
                    const std::string& name) {
  RealCurve curve;
  curve.name = name;
  std::ifstream file(folder / (name + ".csv"));
  std::string line;
  std::getline(file, line);
  const std::vector<std::string> header = Split(line);
  for (std::size_t i = 1; i < header.size(); ++i) {
    if (header[i] == "loss") curve.loss = i - 1;
    if (header[i] == "grad_norm") curve.grad_norm = i - 1;
    if (header[i] == "loss_scale") curve.loss_scale = i - 1;
    curve.names.push_back(header[i]);
  }
  while (std::getline(file, line)) {
    std::vector<std::string> cells = Split(line);
    cells.resize(header.size());
    curve.steps.push_back(std::strtoll(cells[0].c_str(), nullptr, 10));
    std::vector<double> row;
    for (std::size_t i = 1; i < cells.size(); ++i) {
      row.push_back(ParseCell(cells[i]));
    }
    curve.values.push_back(std::move(row));
  }
  return curve;
}

std::vector<CurveLabel> ReadLabels(const std::filesystem::path& folder,
                                   const std::string& name) {
  std::vector<CurveLabel> labels;
  std::ifstream file(folder / (name + ".labels.csv"));
  std::string line;
  std::getline(file, line);
  while (std::getline(file, line)) {
    const std::vector<std::string> cells = Split(line);
    if (cells.size() < 3) continue;
    labels.push_back({std::strtoll(cells[0].c_str(), nullptr, 10),
                      std::strtoll(cells[1].c_str(), nullptr, 10), cells[2]});
  }
  return labels;
}

}  // namespace steadyrun
