#!/bin/sh
# Runs Python in the project's own virtual environment, made on first use.
set -eu
venv="$(cd "$(dirname "$0")/.." && pwd)/.cache/venv"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv" >&2
exec "$venv/bin/python" "$@"
