#!/bin/sh
# Builds the benchmark of the detectors and prints its table:
#   tests/bench/score/score.sh [--seeds 10-19] [--quick] [--raw FILE.csv]
#       [--only trials|cascades|curves|cost]
# The whole takes some minutes; --quick, one seed. The recorded curves are read
# from $STEADYRUN_DATA, else from ../shared/data.
set -eu
cd "$(dirname "$0")/../../.."
[ -f build/release/build.ninja ] || cmake --preset release >/dev/null
cmake --build --preset release --target score >/dev/null
exec build/release/bin/score "$@"
