#!/usr/bin/env bash
# Runs the checks of this project, in order, and stops at the first that fails. `make test` runs them all.
# Prints a heading with the time spent before each step, and ends with the plain line `N passed, N failed`.
#
# usage: tests/tools/check.sh [format|lint|tests|walk|docs|benches|fuzz|profiles|deploy ...]    default: all, in that order
#        tests/tools/check.sh miri    needs a nightly toolchain, and is not one of all
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mkdir -p target
results=$(mktemp "${TMPDIR:-/tmp}/portcullis-check.XXXXXX")
ahead=  # the process group of what is built ahead
trap 'rm -f "$results"; [ -z "$ahead" ] || kill -- "-$ahead" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
passed=0
failed=0
fuzz_seconds=${FUZZ_SECONDS:-4}
# Private items are documented too, so links to them lead somewhere.
docs=(env 'RUSTDOCFLAGS=-D warnings -A rustdoc::private-intra-doc-links'
  cargo doc --quiet --no-deps --document-private-items --workspace --locked)

heading() { printf '\n== %s (%s s so far)\n' "$*" "$SECONDS"; }

finish() {
  printf '\n%s passed, %s failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ] || exit 1
  exit 0
}

# step NAME COMMAND...: one check that counts as one.
step() {
  local name=$1
  shift
  heading "$name"
  if "$@"; then
    passed=$((passed + 1))
  else
    printf 'FAILED: %s\n' "$name"
    failed=$((failed + 1))
    finish
  fi
}

# sum WORD: adds up the numbers before WORD in the runner's closing lines.
sum() {
  awk -v word="$1" '/^test result: / || /^[0-9]+ passed, [0-9]+ failed/ {
    for (i = 2; i <= NF; i++) if ($i ~ "^" word "[;,.]?$") n += $(i - 1)
  } END {print n + 0}' "$results"
}

# counted NAME COMMAND...: cargo test or `policy test`, whose own counts are added up.
counted() {
  local name=$1 status=0 good bad
  shift
  heading "$name"
  "$@" 2>&1 | tee "$results" || status=1
  good=$(sum passed)
  bad=$(sum failed)
  passed=$((passed + good))
  failed=$((failed + bad))
  if [ "$status" -ne 0 ]; then
    printf 'FAILED: %s\n' "$name"
    [ "$bad" -gt 0 ] || failed=$((failed + 1)) # it did not even build
    finish
  fi
  if [ "$good" -eq 0 ]; then
    printf 'FAILED: %s ran no test\n' "$name"
    failed=$((failed + 1))
    finish
  fi
}

check_format() {
  step 'format' cargo fmt --all --check
}

check_lint() {
  step 'lints' cargo clippy --quiet --workspace --all-targets --all-features --locked -- -D warnings
}

check_tests() {
  step 'tools of the tests' tests/tools/install.sh kubectl python node console asciinema
  step 'kube-rs client' cargo build --quiet --locked --manifest-path tests/clients/kube-rs/Cargo.toml \
    --target-dir target/clients
  step 'what runs the tests' cargo test --quiet --workspace --locked --no-run
  if [ "$all" = yes ]; then
    set -m # a process group of its own, which ends with this script
    build_ahead >/dev/null 2>&1 &
    ahead=$!
    set +m
  fi
  # More at once than there are cores here: end to end, most of them wait.
  counted 'tests' cargo test --quiet --workspace --locked --no-fail-fast -- --test-threads=3
}

# What later steps build, while the tests wait for each other: nothing that the tests run. Such a step waits for it, and
# says what failed.
build_ahead() {
  sleep 20 # cargo builds for one at a time, and the tests come first
  FUZZ_OPT_LEVEL=0 nice -n 19 fuzz/run --build || true
  nice -n 19 "${docs[@]}" || true
}

check_docs() {
  step 'docs' "${docs[@]}"
}

check_benches() {
  # In the dev profile: this asks whether they run, and what they need is already built.
  step 'benches, each once' cargo bench --quiet --profile dev --workspace --locked -- --test
  step 'valgrind' tests/tools/install.sh valgrind
  counted 'instructions against the record' tests/tools/instructions.py
}

check_fuzz() {
  export FUZZ_OPT_LEVEL=0 # for a few seconds each, building takes longer than running
  step 'fuzz targets' fuzz/run --build
  local target
  for target in $(fuzz/run --list); do
    step "fuzz $target, $fuzz_seconds s" fuzz_one "$target"
  done
}

fuzz_one() {
  local target=$1 log status=0
  log=$(mktemp)
  fuzz/run "$target" -max_total_time="$fuzz_seconds" -verbosity=0 -print_final_stats=0 >"$log" 2>&1 || status=$?
  [ "$status" -eq 0 ] || tail -n 40 "$log"
  rm -f "$log"
  return "$status"
}

# The only unsafe code, under Miri: with SSE2, and with all the vectors there are. It interprets, so of each property it sees
# a few cases only; they are random, so each run has others. What goes through 256 bytes in all places would take ten minutes.
check_miri() {
  step 'Miri' rustup component add --toolchain nightly miri rust-src
  local features
  for features in '' '-Ctarget-feature=+avx2,+pclmulqdq,+popcnt,+bmi1,+avx512bw'; do
    PROPTEST_CASES=3 RUSTFLAGS=$features MIRIFLAGS=-Zmiri-disable-isolation counted "Miri ${features:-with SSE2}" \
      cargo +nightly miri test --quiet --locked --manifest-path tests/miri/Cargo.toml \
      --target-dir target/miri --lib wire::json::blocks -- --skip every_byte
  done
}

# The programs as the tests built them: `cargo build` by itself would build many libraries again, with other features.
program() {
  cargo test --quiet --workspace --locked --no-run
}

check_walk() {
  step 'tools of the walk' tests/tools/install.sh kubectl node console
  step 'portcullis and the demo' program
  step "a stranger's walk through the README" tests/tools/walk.py --built
}

check_profiles() {
  step 'portcullis' program
  local cases
  for cases in profiles/tests/*.yaml; do
    [ -f "$cases" ] || continue
    counted "profile cases $cases" target/debug/portcullis policy test "$cases"
  done
}

check_deploy() {
  step 'tools of deploy' tests/tools/install.sh prometheus deploy
  step 'portcullis' program
  local promtool=target/tools/prometheus/promtool
  step 'alert rules' "$promtool" check rules deploy/prometheus/alerts.yaml
  step 'alert rules fire' "$promtool" test rules deploy/prometheus/alerts_test.yaml
  counted 'chart, image, dashboard and the configurations in docs/install.md' \
    target/tools/deploy/bin/python tests/deploy/check.py
}

all=no
if [ $# -eq 0 ]; then
  set -- format lint tests walk docs benches fuzz profiles deploy
  # What takes long to fetch or to build, beside the lints. The step that needs it waits for it, and says what failed.
  tests/tools/install.sh kubectl python node console asciinema >/dev/null 2>&1 &
  all=yes
fi
for part in "$@"; do
  case $part in
    format | lint | tests | walk | docs | benches | fuzz | profiles | deploy | miri) "check_$part" ;;
    *) printf "check.sh: unknown part '%s'\n" "$part" >&2; exit 2 ;;
  esac
done
finish
