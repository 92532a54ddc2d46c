#!/bin/sh
# Builds and runs all tests; the last lines are ctest's summary. Arguments go to ctest, such as -R scheduler.
#   PRESET=dev|release|asan|tsan   what to build and test (default: release)
set -eu
cd "$(dirname "$0")/.."
preset=${PRESET:-release}

./deploy/build.sh "$preset"
SKIPSERVE_TEST_MODEL=$(./deploy/fetch_model.sh)
SKIPSERVE_BINARY="$PWD/build/$preset/server/skipserve"
export SKIPSERVE_TEST_MODEL SKIPSERVE_BINARY

# The conformance tests speak to the server with other people's clients.
./deploy/python.sh -m pip install --quiet --disable-pip-version-check -r tests/conformance/requirements.txt

exec ctest --preset "$preset" --no-tests=error "$@"
