#!/bin/sh
# Builds the skip file of the fetched model ($1) where it is not there yet, from this machine's own texts: its ready levels,
# which were searched and measured before, and the proxies. Without --no-search it would search for levels again, in minutes.
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
exec "$skipserve" calibrate "$model" $texts --no-search
