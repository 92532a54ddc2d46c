#!/bin/sh
# Builds and runs all tests; the last line counts them. Arguments go to ctest, such as -R scheduler.
#   PRESET=dev|release|asan|tsan   what to build and test (default: release)
set -eu
cd "$(dirname "$0")/.."
preset=${PRESET:-release}

# A browser, for the tests of the page that the server shows.
command -v chromium >/dev/null || ./deploy/install_packages.sh chromium
./deploy/build.sh "$preset"
SKIPSERVE_TEST_MODEL=$(./deploy/fetch_model.sh)
SKIPSERVE_BINARY="$PWD/build/$preset/server/skipserve"
export SKIPSERVE_TEST_MODEL SKIPSERVE_BINARY

# The conformance tests speak to the server with other people's clients.
./deploy/python.sh -m pip install --quiet --disable-pip-version-check -r tests/conformance/requirements.txt

results="$PWD/build/$preset/tests.xml"
rm -f "$results"
status=0
ctest --preset "$preset" --no-tests=error --output-junit "$results" "$@" || status=$?
./deploy/python.sh - "$results" <<'END'
import sys, xml.etree.ElementTree
suite = xml.etree.ElementTree.parse(sys.argv[1]).getroot()
failed, skipped = int(suite.get("failures")), int(suite.get("skipped")) + int(suite.get("disabled"))
passed = int(suite.get("tests")) - failed - skipped
print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
sys.exit(failed > 0 or passed == 0)
END
exit "$status"
