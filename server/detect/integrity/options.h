#pragma once

// What can be set about the search for silent data corruption, with the TOML
// key of the policy file, unit, default and what it costs to change.

#include <cstdint>

namespace steadyrun {

// [detect.integrity]: see integrity_watch.h. Votes have nothing to set: values
// that must be equal are equal or not.
struct IntegrityOptions {
  // `local_norm_sigmas`, 8: a rank's gradient norm before the all-reduce is
  // further from its data-parallel peers' than this many robust sigmas, in
  // `local_norm_hits`, 3, of its last 10 rows. Lower finds smaller faults, and
  // ranks whose data differ.
  double local_norm_sigmas = 8;
  std::int32_t local_norm_hits = 3;
  friend bool operator==(const IntegrityOptions&,
                         const IntegrityOptions&) = default;
};

}  // namespace steadyrun
