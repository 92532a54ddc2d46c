#!/bin/sh
# Builds the skip settings of the fetched model ($1) where they are not there yet, from this machine's own texts.
set -eu
model=$1
skipserve="$(dirname "$0")/../build/release/server/skipserve"

if [ -f "$model.skip" ] && "$skipserve" inspect "$model" >/dev/null 2>&1; then
  echo "$model.skip"
  exit 0
fi
# Every licence text of the machine but the one that the demonstration reads.
texts=$(find -L /usr/share/common-licenses -type f ! -name 'GPL-3' ! -name 'GPL' | sort)
# shellcheck disable=SC2086
exec "$skipserve" calibrate "$model" $texts
