#!/usr/bin/env bash
# Steadyrun in one command: installs what is missing, builds a release, trains
# a small GPT over a server and agents on this machine, breaks it on purpose,
# and prints the stability report. --help tells the flags.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

# The driver needs Python 3.11, as Debian 12 has it.
find_python() {
  local python
  for python in python3 /usr/bin/python3; do
    if "$python" -c 'import tomllib' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
}
export PYTHONPATH="$root/deploy/quickstart:$root/agent/python"
export PYTHONDONTWRITEBYTECODE=1

# Wrong flags and fault scripts are refused before anything is built.
python=$(find_python)
if [[ -n "$python" ]]; then "$python" -m quickstart --check "$@"; fi
for argument in "$@"; do
  if [[ "$argument" == --help || "$argument" == -h ]]; then exit 0; fi
done

"$root/deploy/install-packages.sh" build torch web
python=$(find_python)
if [[ -z "$python" ]]; then
  echo "quickstart: needs Python 3.11 or newer (Debian 12 has it)" >&2
  exit 1
fi

(
  cd "$root"
  # As tests/run.sh has them, so that both share their objects.
  export CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_NOHASHDIR=1
  export CCACHE_BASEDIR=$root
  cmake --preset release >/dev/null
  cmake --build --preset release -j "$(nproc)" --target \
    steadyrun-server steadyrun-agent steadyrun-shim steadyrun
)
exec "$python" -m quickstart "$@"
