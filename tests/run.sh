#!/usr/bin/env bash
# Installs what is missing, builds, and runs the tests.
#   tests/run.sh          everything but the long suites
#   tests/run.sh --long   those too
#   tests/run.sh -R NAME  only tests whose name matches (no sanitizer pass)
# Ends with ctest's own summary; exits non-zero if anything failed.
set -euo pipefail
cd "$(dirname "$0")/.."

long=0
filter=""
while (($#)); do
  case "$1" in
    --long) long=1 ;;
    -R)
      filter="${2:?-R needs a pattern}"
      shift
      ;;
    -h | --help)
      sed -n '2,6s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *)
      echo "tests/run.sh: unknown argument '$1' (--help tells them)" >&2
      exit 2
      ;;
  esac
  shift
done

started=$SECONDS
section() { printf '\n== %s (%d s)\n' "$1" $((SECONDS - started)); }
jobs=$(nproc)
# Objects are the same wherever the checkout lies.
export CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_NOHASHDIR=1
export CCACHE_BASEDIR=$PWD

section "packages"
deploy/install-packages.sh build torch web browser monitoring

section "format"
git ls-files '*.h' '*.cc' | xargs clang-format --dry-run -Werror

section "build: release"
cmake --preset release >/dev/null
cmake --build --preset release -j "$jobs"

if [[ -z "$filter" ]]; then
  section "build: AddressSanitizer and UBSan"
  cmake --preset asan >/dev/null
  cmake --build --preset asan -j "$jobs"

  section "unit, scenario, property and simulation tests under the sanitizers"
  ctest --preset asan -j "$jobs" -L 'unit|scenario|property|simulation' -LE long
fi

section "tests"
arguments=(--preset release -j "$jobs")
if ((long == 0)); then arguments+=(-LE long); fi
if [[ -n "$filter" ]]; then arguments+=(-R "$filter"); fi
ctest "${arguments[@]}"
