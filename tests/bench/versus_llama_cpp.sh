#!/bin/sh
# SkipServe beside llama.cpp on one machine, same weights (bf16), same threads: prefill at several lengths and decode, run in
# turn, medians and ratios. Builds the peer once, from the PyPI source package llama-cpp-python (about 10 minutes).
#
#   tests/bench/versus_llama_cpp.sh [ROUNDS]     default 3; THREADS=2 LENGTHS="512 2048 8000" LEVELS=auto
set -eu
cd "$(dirname "$0")/../.."
rounds=${1:-3}
threads=${THREADS:-2}
lengths=${LENGTHS:-"512 2048 8000"}
levels=${LEVELS:-auto}
peer="$PWD/.cache/peer"
model=$(./deploy/fetch_model.sh)
bf16="$peer/smollm2-bf16.gguf"

if [ ! -x "$peer/build/bin/llama-bench" ]; then
  mkdir -p "$peer/source"
  ./deploy/python.sh -m pip download --quiet --no-deps --no-binary :all: --dest "$peer" llama-cpp-python
  tar -xzf "$peer"/llama_cpp_python-*.tar.gz -C "$peer/source" --strip-components 1
  cmake -S "$peer/source/vendor/llama.cpp" -B "$peer/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
    -DBUILD_SHARED_LIBS=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF
  cmake --build "$peer/build" --parallel "$(nproc)" --target llama-bench llama-quantize
fi
[ -f "$bf16" ] || "$peer/build/bin/llama-quantize" --allow-requantize "$model" "$bf16" bf16 "$threads" >/dev/null

./deploy/build.sh release >/dev/null
./deploy/default_skip_settings.sh "$model" >&2
exec ./deploy/python.sh tests/bench/versus_llama_cpp.py --rounds "$rounds" --threads "$threads" \
  --lengths "$lengths" --levels "$levels" --model "$model" --peer-model "$bf16" \
  --llama-bench "$peer/build/bin/llama-bench" --skipserve build/release/server/skipserve --json "$peer/last.json"
