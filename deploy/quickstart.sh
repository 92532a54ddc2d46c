#!/bin/sh
# From a fresh Debian 12 to a served model: installs packages, builds, fetches a model, builds its skip settings, starts the
# server, and asks it about a long document twice, dense and skipping. Run again, it takes seconds.
#
#   ./deploy/quickstart.sh [--exit]     --exit: end after the demonstration
#   HTTP_PORT, GRPC_PORT                other ports than 8080 and 50051 (0: any free one)
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
end_after_demo=no
for argument in "$@"; do
  case "$argument" in
    --exit) end_after_demo=yes ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
done
say() { printf '\n== %s\n' "$1"; }

say "1/5  packages"
./deploy/install_packages.sh

say "2/5  build"
./deploy/build.sh release
skipserve="$root/build/release/server/skipserve"

say "3/5  model"
model=$(./deploy/fetch_model.sh)
echo "$model"

say "4/5  skip settings"
./deploy/default_skip_settings.sh "$model"

say "5/5  server and demonstration"
log="$root/.cache/server.log"
"$skipserve" serve "$model" --http-port "${HTTP_PORT:-8080}" --grpc-port "${GRPC_PORT:-50051}" >"$log" 2>&1 &
server=$!
# The terminal sends Ctrl-C to the server too, and a second signal would cut it short: it is only waited for.
trap 'wait $server; exit $?' INT
trap 'kill -TERM $server; wait $server; exit $?' TERM
trap 'kill -TERM $server 2>/dev/null || true' EXIT
./deploy/python.sh deploy/demo.py --log "$log" --pid "$server" --document /usr/share/common-licenses/GPL-3

if [ "$end_after_demo" = yes ]; then
  kill -TERM $server
  wait $server
  trap - EXIT
  exit 0
fi
echo "The server goes on in the foreground (log: $log). Ctrl-C ends it."
wait $server
