#!/bin/sh
# The server under chaos, for as long as one likes: half of the time on the tiny model, half on the real one.
#   MINUTES=20    all together
#   PRESET=release|asan|tsan
# Further arguments go to tests/soak/soak.py, such as --seed 7.
set -eu
cd "$(dirname "$0")/.."
preset=${PRESET:-release}
minutes=$(awk "BEGIN { print ${MINUTES:-20} / 2 }")
memory=
[ "$preset" = release ] || memory=--no-memory

./deploy/build.sh "$preset"
model=$(./deploy/fetch_model.sh)
./deploy/default_skip_settings.sh "$model" >&2
./deploy/python.sh -m pip install --quiet --disable-pip-version-check -r tests/conformance/requirements.txt
build="build/$preset/tests"
soak() {
  ./deploy/python.sh tests/soak/soak.py "$build/soak/soak_server" --replay "$build/scheduler/replay_trace" \
    --minutes "$minutes" ${memory:+"$memory"} "$@"
}
# Little KV memory, hardly more than one full context: it has to be fought for. Steps so short that prompts take many.
soak tests/golden/tiny/tiny.gguf "$@" -- --kv-dtype int8 --kv-memory-mb 1 --max-token-gap 0.002
# Fewer questions and clients: each takes a hundred times as long.
soak "$model" --questions 24 --clients 5 --faults 3e-5 "$@" -- --kv-memory-mb 200
