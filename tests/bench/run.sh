#!/usr/bin/env bash
# Prints the figures of the README: one section a question. About ten minutes
# on two quiet cores, and some more for `speed`; compare the figures of one run
# with each other, not with those of another machine. The score of the
# detectors has a command of its own: tests/bench/score/score.sh.
#   tests/bench/run.sh [SECTION ...]   all without:
#     ingest storage heatmap sdk agent recovery web curve speed
set -euo pipefail
cd "$(dirname "$0")/../.."

sections=("$@")
if ((${#sections[@]} == 0)); then
  sections=(ingest storage heatmap sdk agent recovery web curve speed)
fi

deploy/install-packages.sh build torch web browser
# Objects are the same wherever the checkout lies.
export CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_NOHASHDIR=1
export CCACHE_BASEDIR=$PWD
cmake --preset release >/dev/null
cmake --build --preset release -j "$(nproc)" >/dev/null
bin=build/release/bin
python=python3
"$python" -c 'import tomllib' 2>/dev/null || python=/usr/bin/python3

for section in "${sections[@]}"; do
  printf '\n== %s\n' "$section"
  case "$section" in
    ingest) "$bin/bench_ingest" "$bin/steadyrun-server" ;;
    storage) "$bin/bench_storage" ;;
    heatmap) "$bin/bench_heatmap" ;;
    sdk)
      "$python" tests/bench/sdk_step.py
      "$python" tests/bench/sdk_overhead.py
      ;;
    agent) "$python" tests/bench/agent_cost.py ;;
    recovery) "$python" tests/bench/recovery_time.py ;;
    web) node tests/bench/web/web_bench.mjs ;;
    curve) "$bin/bench_curve" ;;
    speed) "$bin/speed_bench" ;;
    *)
      echo "tests/bench/run.sh: unknown section '$section'" >&2
      exit 2
      ;;
  esac
done
