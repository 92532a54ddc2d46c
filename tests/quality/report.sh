#!/bin/sh
# Measures the levels of a model (default: the fetched one) on held-out tasks and makes the quality page and its picture.
#   FACTS=100   facts at each length; with 100 it takes one to two hours on two cores
#   CASES=8     prompts of every other family
set -eu
cd "$(dirname "$0")/../.."
model=${1:-$(./deploy/fetch_model.sh)}
facts=${FACTS:-100}
cases=${CASES:-8}
skipserve=build/release/server/skipserve
out=.cache/quality
mkdir -p "$out"

./deploy/build.sh release
./deploy/default_skip_settings.sh "$model" >&2
./deploy/python.sh -m pip install --quiet --disable-pip-version-check matplotlib
# Facts at every length; the baselines, which read densely again, at the shortest with all facts and else with fewer.
"$skipserve" eval "$model" --tasks fact --lengths 2048 --cases "$facts" --json "$out/facts_short.json"
"$skipserve" eval "$model" --tasks fact --lengths 4096,7500 --cases "$facts" --no-baselines --json "$out/facts_long.json"
"$skipserve" eval "$model" --cases "$cases" --lengths 1024,2048 --json "$out/tasks.json" \
  --tasks needle_keys,needle_values,needle_queries,variable_tracking,common_words,frequent_words,question_first,two_questions,second_turn,summary,real_question,code,continuation
"$skipserve" eval "$model" --cases "$((cases / 2))" --lengths 4096,7500 --json "$out/tasks_long.json" \
  --tasks two_questions,summary,continuation
./deploy/python.sh tests/quality/report.py "$out/facts_short.json" "$out/facts_long.json" "$out/tasks.json" \
  "$out/tasks_long.json" --page tests/quality/QUALITY.md --picture tests/quality/quality.png
