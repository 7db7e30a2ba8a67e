#!/usr/bin/env bash
# Makes deploy/portcullis.profdata anew, which deploy/build.sh builds with: builds the gateway so that it counts which ways
# it takes, runs scenarios of the load test through it, and adds up what it counted. To be done before a release, and when a
# library, the compiler or the gateway's version is another, since functions have other names then.
#
# usage: loadtest/train.sh    takes half an hour, most of which is building
#
# Needs Linux, and the llvm-profdata of the compiler's LLVM: `tests/tools/install.sh profdata`, or `rustup component add llvm-tools`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=2
# Each names the scenario and the gateway. They are about CPU time, one for each way through the gateway. Left out, so that they tell
# what the profile does for loads that it does not know: mixed-cluster, masked-watch-distinct-pods and its twin in protobuf,
# churn-reconnect, watchlist-sync; and those that are about memory, rules or many watches.
scenarios='
small-gets                    portcullis
masked-gets-protobuf          portcullis-masked
watches-begin-h2              portcullis
passthrough-list              portcullis
passthrough-watch-pods        portcullis
passthrough-watch-small       portcullis
logs-follow                   portcullis
exec-echo                     portcullis-recorded
exec-bulk                     portcullis-masked-recorded
masked-list-secrets           portcullis-masked
masked-list-secrets-h2        portcullis-masked
masked-list-secrets-protobuf  portcullis-masked
masked-logs-follow            portcullis-masked
masked-watch-pods             portcullis-masked
masked-watch-pods-protobuf    portcullis-masked
masked-watch-secrets          portcullis-masked
masked-watch-secrets-h2       portcullis-masked
masked-watch-secrets-protobuf portcullis-masked
profile-watch-pods            portcullis-masked
profile-watch-secrets         portcullis-masked
'

target=$(rustc --version --verbose | sed -n 's/^host: //p')
llvm=$(rustc --version --verbose | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
profdata=$(rustc --print sysroot)/lib/rustlib/$target/bin/llvm-profdata
[ -x "$profdata" ] || profdata=$(command -v "llvm-profdata-$llvm") || {
  echo "train.sh: llvm-profdata of LLVM $llvm is missing; run tests/tools/install.sh profdata" >&2
  exit 2
}

for program in setpriv flock python3; do
  command -v "$program" >/dev/null || {
    echo "train.sh: $program is missing; install util-linux and python3" >&2
    exit 2
  }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
RUSTFLAGS=-Cprofile-generate cargo build --release --locked --package portcullis --bin portcullis \
  --target "$target" --target-dir target/train
cargo build --release --locked --package loadtest --bin loadtest --target-dir target

# Counts are written at an orderly end, and the harness kills what it has started. So that is this script, and the gateway is
# told to end when it has no parent any more. Until it has, it holds a lock.
export COUNTING=$PWD/target/train/$target/release/portcullis RUNNING=$work/running LOADTEST_GATEWAY=$work/gateway
cat >"$work/gateway" <<'END'
#!/bin/sh
exec 9>>"$RUNNING"
flock --shared 9
setpriv --pdeathsig TERM "$COUNTING" "$@" &
wait
END
chmod +x "$work/gateway"

most=1
while read -r scenario gateway; do
  [ -n "$scenario" ] || continue
  # That a bar fails says nothing here: counting takes time. That something broke does.
  LLVM_PROFILE_FILE=$work/$scenario/%m.profraw target/release/loadtest "$scenario" --target "$gateway" --rounds 1 \
    --duration "$seconds" --dir "$work/run" --json "$work/report.json" >"$work/report" 2>&1 </dev/null || true
  { python3 -c 'import json, sys; sys.exit(bool(json.load(sys.stdin)["judgement"]["broken"]))' <"$work/report.json" &&
    flock --wait 60 "$work/running" "$profdata" merge --sparse --output "$work/$scenario.profdata" "$work/$scenario"; } || {
    cat "$work/report" >&2
    echo "train.sh: $scenario could not be counted; what it left is in the lines above" >&2
    exit 1
  }
  rm "$work/report.json"
  total=$("$profdata" show --detailed-summary "$work/$scenario.profdata" | sed -n 's/^Total count: //p')
  printf '%-30s %-26s %18s counts\n' "$scenario" "$gateway" "$total"
  printf '%s %s\n' "$total" "$work/$scenario.profdata" >>"$work/totals"
  [ "$total" -le "$most" ] || most=$total
done <<<"$scenarios"

# All weigh about the same: bytes that are masked are counted far more often than requests that are decided.
weighted=()
while read -r total file; do
  weighted+=("--weighted-input=$((most / total)),$file")
done <"$work/totals"
"$profdata" merge --sparse --output "$work/all.profdata" "${weighted[@]}"
cp "$work/all.profdata" deploy/portcullis.profdata
ls -l deploy/portcullis.profdata
