#include "base/backoff.h"

#include <algorithm>
#include <cmath>

namespace steadyrun {

Duration BackoffDelay(const BackoffOptions& options, int failures,
                      std::uint64_t random) {
  const double ceiling =
      std::min(ToSeconds(options.max),
               ToSeconds(options.initial) *
                   std::pow(options.factor, std::min(failures, 60)));
  // 53 bits fit a double exactly; +1 keeps the delay above zero.
  const double fraction = static_cast<double>((random >> 11) + 1) * 0x1.0p-53;
  return FromSeconds(ceiling * fraction);
}

}  // namespace steadyrun
