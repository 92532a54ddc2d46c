#!/bin/sh
# Measures the levels of a model (default: the fetched one) on held-out tasks and makes the quality page and its picture.
#   FACTS=100   facts at each length; with 100 it takes one to two hours on two cores
#   CASES=8     prompts of every other family
#   TIMES=no    leave times out, where the machine has other work
set -eu
cd "$(dirname "$0")/../.."
model=${1:-$(./deploy/fetch_model.sh)}
facts=${FACTS:-100}
cases=${CASES:-8}
times=
if [ "${TIMES:-yes}" = no ]; then times=--no-times; fi
skipserve=build/release/server/skipserve
out=.cache/quality
mkdir -p "$out"

./deploy/build.sh release
./deploy/default_skip_settings.sh "$model" >&2
./deploy/python.sh -m pip install --quiet --disable-pip-version-check matplotlib
# Facts at every length. The baselines read densely again, so they see fewer of them.
for tokens in 2048 4096 7500; do
  "$skipserve" eval "$model" --tasks fact --lengths "$tokens" --cases "$facts" --no-baselines --json "$out/facts_$tokens.json"
done
"$skipserve" eval "$model" --tasks fact --lengths 2048,4096,7500 --cases "$((facts / 4))" --json "$out/facts_baselines.json"
"$skipserve" eval "$model" --lengths 2048 --cases "$cases" --json "$out/tasks.json" \
  --tasks needle_keys,needle_values,needle_queries,variable_tracking,common_words,frequent_words,question_first,two_questions,second_turn,summary,real_question,code,continuation
layers=$("$skipserve" inspect "$model" --json | ./deploy/python.sh -c 'import json, sys; print(json.load(sys.stdin)["layers"])')
./deploy/python.sh tests/quality/ablations.py "$layers" > "$out/policies.json"
"$skipserve" eval "$model" --tasks fact,summary --lengths 2048 --cases "$((facts / 5))" --no-baselines \
  --policy "@$out/policies.json" --json "$out/ablations.json"
./deploy/python.sh tests/quality/report.py "$out"/facts_*.json "$out/tasks.json" \
  --ablations "$out/ablations.json" --ideas tests/quality/ideas.md ${times:+"$times"} --page tests/quality/QUALITY.md --picture tests/quality/quality.png
