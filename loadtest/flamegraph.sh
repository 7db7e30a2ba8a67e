#!/usr/bin/env bash
# Draws where the gateway spends its CPU time while a scenario runs: an SVG that a browser zooms into.
#
# usage: loadtest/flamegraph.sh SCENARIO OUT.svg [TARGET] [SECONDS]
#        TARGET is one of the scenario's gateways, portcullis or portcullis-masked
#
# Needs the right to use `perf` (root, or kernel.perf_event_paranoid at 1 or below); `tests/tools/install.sh flamegraph`
# installs it, and inferno, which draws what Brendan Gregg's scripts draw.
set -euo pipefail

usage="usage: loadtest/flamegraph.sh SCENARIO OUT.svg [TARGET] [SECONDS]"
scenario=${1:?$usage}
out=$(realpath "${2:?$usage}")
target=${3:-portcullis}
seconds=${4:-6}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PATH:$PWD/target/tools/inferno/bin

for program in perf inferno-collapse-perf inferno-flamegraph; do
  command -v "$program" >/dev/null || {
    echo "flamegraph.sh: $program is missing; run tests/tools/install.sh flamegraph" >&2
    exit 2
  }
done

cargo build --quiet --release --locked -p loadtest --bin loadtest
work=$(mktemp -d)
trap 'kill "$run" 2>/dev/null || true; rm -rf "$work"' EXIT

target/release/loadtest "$scenario" --target "$target" --rounds 1 --duration $((seconds + 8)) >"$work/report" 2>&1 &
run=$!
gateway=
for _ in $(seq 300); do
  gateway=$(pgrep -n -f 'loadtest.* gateway serve') && break
  sleep 0.1
done
[ -n "$gateway" ] || {
  cat "$work/report" >&2
  exit 1
}
sleep 4 # until clients are connected, and the gateway has made what it makes once after its start
perf record --quiet --event cpu-clock --freq 997 --call-graph dwarf,16384 --pid "$gateway" --output "$work/perf.data" -- sleep "$seconds"
wait "$run" || true # a bar that fails is no reason not to draw
# Functions as they were compiled: with all that was inlined into them there are more frames than anybody reads.
perf script --no-inline --input "$work/perf.data" 2>/dev/null | inferno-collapse-perf >"$work/stacks"
inferno-flamegraph --title "$scenario, $target: CPU time of the gateway" --minwidth 0.3 <"$work/stacks" >"$out"
echo "$out"
