#!/bin/sh
# Installs guidellm and aiperf from PyPI beside the build and runs both against the server. Arguments go to load_generators.py.
set -eu
cd "$(dirname "$0")/../.."
tools=.cache/loadgen
[ -x "$tools/bin/python" ] || python3 -m venv "$tools"
"$tools/bin/python" -m pip install --quiet --disable-pip-version-check guidellm aiperf gguf
model=$(./deploy/fetch_model.sh)
./deploy/default_skip_settings.sh "$model" >&2
./deploy/build.sh release >&2
"$tools/bin/python" tests/bench/hf_tokenizer.py "$model" "$tools/tokenizer" >&2
"$tools/bin/python" tests/bench/load_generators.py "$tools/bin" "$PWD/$tools/tokenizer" --model "$model" "$@"
