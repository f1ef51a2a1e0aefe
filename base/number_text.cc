#include "base/number_text.h"

#include <charconv>
#include <cmath>
#include <limits>

namespace steadyrun {
namespace {

// "name(" .. ")" and "[" .. "]" around a number, at most this deep.
constexpr int kMaxWrappings = 4;

bool IsNameOfNumber(std::string_view name) {
  return name == "np.float64" || name == "np.float32" || name == "np.int64" ||
         name == "np.int32" || name == "numpy.float64" || name == "float" ||
         name == "tensor" || name == "array";
}

// What is within the outermost brackets; the text itself without any.
std::string_view Unwrapped(std::string_view text) {
  if (text.size() < 2) return text;
  if (text.front() == '[' && text.back() == ']') {
    return Trim(text.substr(1, text.size() - 2));
  }
  const std::size_t open = text.find('(');
  if (open == std::string_view::npos || !IsNameOfNumber(text.substr(0, open))) {
    return text;
  }
  // tensor(1.5, device='cuda:0'): the rest says where, not what.
  std::string_view inner = text.substr(open + 1);
  inner = inner.substr(0, inner.find(','));
  if (!inner.empty() && inner.back() == ')') inner.remove_suffix(1);
  return Trim(inner);
}

// Beyond the range of a double: the exponent tells which way.
double OutOfRange(std::string_view text) {
  const std::size_t exponent = text.find_first_of("eE");
  const bool is_small = exponent != std::string_view::npos &&
                        exponent + 1 < text.size() && text[exponent + 1] == '-';
  const double magnitude =
      is_small ? 0 : std::numeric_limits<double>::infinity();
  return text.front() == '-' ? -magnitude : magnitude;
}

std::optional<double> ParsePlain(std::string_view text) {
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  if (text.empty() || text.front() == '+') return std::nullopt;
  double value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size()) return std::nullopt;
  if (error == std::errc::result_out_of_range) return OutOfRange(text);
  if (error != std::errc{}) return std::nullopt;
  return value;
}

}  // namespace

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  const std::size_t end = text.find_last_not_of(kBlanks);
  return text.substr(begin, end - begin + 1);
}

std::optional<double> ParseNumber(std::string_view text) {
  text = Trim(text);
  for (int depth = 0; depth < kMaxWrappings; ++depth) {
    const std::string_view inner = Unwrapped(text);
    if (inner.size() == text.size()) break;
    text = inner;
  }
  return ParsePlain(text);
}

bool IsAbsentWord(std::string_view text) {
  text = Trim(text);
  for (const std::string_view word :
       {"", "-", "null", "None", "NULL", "NA", "N/A", "n/a"}) {
    if (text == word) return true;
  }
  return false;
}

}  // namespace steadyrun
