#!/usr/bin/env bash
# Creates a kind cluster, puts the gateway in front of it, measures what it adds and removes the cluster again.
# usage: loadtest/kind/run.sh [REPORT]      REPORT is a path without ending; default: target/kind/overhead
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
report=${1:-$root/target/kind/overhead}
work=$root/target/kind
cluster=portcullis-overhead

for program in docker kind kubectl cargo; do
  command -v "$program" >/dev/null || { echo "run.sh: $program is needed" >&2; exit 2; }
done
mkdir -p "$work" "$(dirname "$report")"

kind create cluster --name "$cluster" --config "$root/loadtest/kind/kind.yaml" --kubeconfig "$work/admin.kubeconfig" --wait 120s
gateway=
finish() {
  [ -z "$gateway" ] || kill "$gateway" 2>/dev/null || true
  kind delete cluster --name "$cluster"
}
trap finish EXIT

kube() { kubectl --kubeconfig "$work/admin.kubeconfig" "$@"; }
kube apply -f "$root/loadtest/kind/logger.yaml"
kube wait --for=condition=Ready pod/overhead --timeout=120s

# The gateway's own kubeconfig: the server of the admin's, and a token that can impersonate and nothing else.
cp "$work/admin.kubeconfig" "$work/gateway.kubeconfig"
token=$(kube -n kube-system create token portcullis --duration 1h)
kubectl --kubeconfig "$work/gateway.kubeconfig" config set-credentials portcullis --token "$token" >/dev/null
kubectl --kubeconfig "$work/gateway.kubeconfig" config set-context --current --user portcullis >/dev/null

cargo build --release -p loadtest --manifest-path "$root/Cargo.toml"
"$root/target/release/demo" --dir "$work/demo" --cluster-kubeconfig "$work/gateway.kubeconfig" >"$work/demo.log" 2>&1 &
gateway=$!
for _ in $(seq 300); do
  ! grep -qx ready "$work/demo.log" || break
  kill -0 "$gateway" 2>/dev/null || { cat "$work/demo.log" >&2; exit 2; }
  sleep 0.1
done

"$root/target/release/loadtest" overhead --kubeconfig "$work/admin.kubeconfig" \
  --gateway-kubeconfig "$work/demo/developer.kubeconfig" --pod overhead \
  --json "$report.json" --markdown "$report.md" --html "$report.html"
