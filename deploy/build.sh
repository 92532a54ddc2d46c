#!/bin/sh
# Builds a preset (default: release) with as many jobs as the cores and the memory allow. Prints ninja's progress.
set -eu
cd "$(dirname "$0")/.."
preset=${1:-release}
jobs=$(nproc)
by_memory=$(awk '/MemAvailable/ { print int($2 / 2000000) + 1 }' /proc/meminfo)
[ "$jobs" -le "$by_memory" ] || jobs=$by_memory
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "configuring $preset ..."
cmake --preset "$preset" >"$log" 2>&1 || { cat "$log"; exit 1; }
cmake --build --preset "$preset" --parallel "$jobs"
