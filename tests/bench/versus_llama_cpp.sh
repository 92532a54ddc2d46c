#!/bin/sh
# SkipServe beside llama.cpp on one machine, same weights, same threads: prefill at several lengths and decode, run in turn,
# medians and ratios. Builds the peer once, from the PyPI source package llama-cpp-python (about 10 minutes).
#
#   tests/bench/versus_llama_cpp.sh [ROUNDS]     default 3; THREADS=2 LENGTHS="512 2048 8000" LEVELS=auto DEPTH=0
#   WEIGHTS=q8_0 or q4_1                         the peer's; SkipServe runs with --dtype int8 or int4 then
#   PEER=/path/to/llama-bench                    another build of it, such as a fork's
set -eu
cd "$(dirname "$0")/../.."
rounds=${1:-3}
threads=${THREADS:-2}
lengths=${LENGTHS:-"512 2048 8000"}
levels=${LEVELS:-auto}
peer="$PWD/.cache/peer"
weights=${WEIGHTS:-bf16}
dtype=int8
case "$weights" in bf16) dtype=bf16 ;; q4_*) dtype=int4 ;; esac
model=$(./deploy/fetch_model.sh)
peer_model="$peer/smollm2-$weights.gguf"

if [ ! -x "$peer/build/bin/llama-bench" ]; then
  mkdir -p "$peer/source"
  ./deploy/python.sh -m pip download --quiet --no-deps --no-binary :all: --dest "$peer" llama-cpp-python
  tar -xzf "$peer"/llama_cpp_python-*.tar.gz -C "$peer/source" --strip-components 1
  cmake -S "$peer/source/vendor/llama.cpp" -B "$peer/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
    -DBUILD_SHARED_LIBS=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF
  cmake --build "$peer/build" --parallel "$(nproc)" --target llama-bench llama-quantize
fi
[ -f "$peer_model" ] || "$peer/build/bin/llama-quantize" --allow-requantize "$model" "$peer_model" "$weights" "$threads" >/dev/null

./deploy/build.sh release >/dev/null
./deploy/default_skip_settings.sh "$model" >&2
exec ./deploy/python.sh tests/bench/versus_llama_cpp.py --rounds "$rounds" --threads "$threads" \
  --lengths "$lengths" --levels "$levels" --model "$model" --peer-model "$peer_model" --dtype "$dtype" --depth "${DEPTH:-0}" \
  --llama-bench "${PEER:-$peer/build/bin/llama-bench}" --skipserve build/release/server/skipserve --json "$peer/last.json"
