#!/bin/sh
# Builds the skip settings of the fetched model ($1) where they are not there yet, from this machine's own texts.
set -eu
model=$1
skipserve="$(dirname "$0")/../build/release/server/skipserve"

# `inspect` takes a file of another version as a fact; the server would refuse it.
if [ -f "$model.skip" ] && "$skipserve" inspect "$model" --json 2>/dev/null | grep -q '"file_state": *"valid"'; then
  echo "$model.skip"
  exit 0
fi
# Every licence text of the machine but the one that the demonstration reads.
texts=$(find -L /usr/share/common-licenses -type f ! -name 'GPL-3' ! -name 'GPL' | sort)
# shellcheck disable=SC2086
exec "$skipserve" calibrate "$model" $texts
