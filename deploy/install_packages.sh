#!/bin/sh
# Installs what SkipServe needs to build, run and test on Debian 12, and the packages named as arguments. Needs root or sudo;
# does nothing when all is there.
set -eu

PACKAGES="
  ca-certificates g++ cmake ninja-build ccache pkg-config python3 python3-venv unzip curl
  libgrpc++-dev libgrpc-dev protobuf-compiler-grpc libprotobuf-dev libprotoc-dev protobuf-compiler libabsl-dev
  libspdlog-dev nlohmann-json3-dev libboost1.81-dev libboost-program-options1.81-dev libssl-dev zlib1g-dev prometheus-cpp-dev
  libdnnl-dev libhwy-dev libonig-dev libicu-dev libeigen3-dev
  libgtest-dev libgmock-dev libbenchmark-dev"

missing=""
for package in $PACKAGES "$@"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "install_packages.sh: run as root, or install sudo" >&2; exit 1; }
  as_root="sudo"
fi
echo "installing:$missing"
$as_root apt-get update -q
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
