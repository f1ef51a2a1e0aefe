#!/usr/bin/env bash
# Installs the Debian packages that building, testing and the quickstart need,
# if any is missing. Needs root (or sudo) only when something is missing.
#   deploy/install-packages.sh [build] [torch] [web] [browser] [monitoring]
set -euo pipefail

build_packages=(
  build-essential cmake ninja-build ccache pkg-config clang-format git
  libgrpc++-dev libgrpc-dev protobuf-compiler protobuf-compiler-grpc
  libprotobuf-dev libabsl-dev libsqlite3-dev libspdlog-dev libfmt-dev
  prometheus-cpp-dev libboost-dev libtomlplusplus-dev libcli11-dev libre2-dev
  libcurl4-openssl-dev libzstd-dev libssl-dev nlohmann-json3-dev libgtest-dev
  libgmock-dev libbenchmark-dev python3 openssl procps
)
torch_packages=(python3-torch python3-numpy)
# The real receivers of metrics, alerts and events, for the tests.
monitoring_packages=(
  prometheus prometheus-alertmanager python3-grpcio python3-protobuf
  python3-yaml python3-aiosmtpd curl
)

# Whether the machine's own node and npm can build the dashboard.
has_node() {
  command -v npm >/dev/null &&
    node -e 'process.exit(process.versions.node.split(".")[0] < 18 ? 1 : 0)' 2>/dev/null
}

wanted=()
for group in "${@:-build}"; do
  case "$group" in
    build) wanted+=("${build_packages[@]}") ;;
    torch)
      # The user's own PyTorch serves where it imports.
      for python in ${STEADYRUN_PYTHON:-} python3 /usr/bin/python3; do
        if "$python" -c 'import torch' 2>/dev/null; then continue 2; fi
      done
      wanted+=("${torch_packages[@]}")
      ;;
    web) if ! has_node; then wanted+=(nodejs npm); fi ;;
    browser) wanted+=(chromium) ;;
    monitoring) wanted+=("${monitoring_packages[@]}") ;;
    *)
      echo "install-packages: unknown group '$group' (build, torch," \
        "web, browser, monitoring)" >&2
      exit 2
      ;;
  esac
done

missing=()
for package in "${wanted[@]}"; do
  if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null |
    grep -q 'ok installed'; then
    missing+=("$package")
  fi
done
if ((${#missing[@]} == 0)); then exit 0; fi

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "install-packages: these Debian packages are missing and need root:" \
      "${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "installing ${#missing[@]} Debian packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
# Packages of services start them; the tests run their own. Debian asks this
# program first.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' |
    "${as_root[@]}" install -m 755 /dev/stdin "$policy"
fi
"${as_root[@]}" "${apt[@]}" update -qq
"${as_root[@]}" "${apt[@]}" install -y -qq --no-install-recommends \
  "${missing[@]}" >/dev/null
