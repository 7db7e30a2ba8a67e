#!/usr/bin/env bash
# Builds the gateway as a release has it. deploy/portcullis.profdata tells the compiler which ways requests and bytes took
# through it in the load test (profile-guided optimisation, https://doc.rust-lang.org/rustc/profile-guided-optimization.html):
# what is laid out together and inlined follows from that, never what the program does. Functions are found by name and
# control flow, and names differ in another version of the gateway, of a library or of the compiler, and on another machine;
# what is not found is compiled as without a profile. `make train` makes a new one.
#
# usage: deploy/build.sh [OUT]    default: target/portcullis
# RUSTFLAGS are used, too; those in Cargo's configuration are not.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=${1:-$root/target/portcullis}
case $out in /*) ;; *) out=$PWD/$out ;; esac
cd "$root"

# Another name for another profile, or Cargo would not build again.
profile=target/$(cksum <deploy/portcullis.profdata | cut -d' ' -f1).profdata
mkdir -p target
cp deploy/portcullis.profdata "$profile.$$"
mv "$profile.$$" "$profile"
# Named, though it is this machine: functions have other names in a build for no target.
target=$(rustc --version --verbose | sed -n 's/^host: //p')
# Encoded, because a path may have spaces.
flags=$(tr -s ' ' '\037' <<<"${RUSTFLAGS:+$RUSTFLAGS }")
CARGO_ENCODED_RUSTFLAGS="${flags}-Cprofile-use=$root/$profile" \
  cargo build --release --locked --package portcullis --bin portcullis --target "$target" --target-dir target/release-build
mkdir -p "$(dirname "$out")"
install -m 755 "target/release-build/$target/release/portcullis" "$out"

# The name of the crate with the hash that all its functions have in theirs.
crate() { LC_ALL=C grep -aoE 'portcullis\.[0-9a-f]+-cgu' "$1" | sort -u; }
[ -n "$(comm -12 <(crate deploy/portcullis.profdata) <(crate "$out"))" ] ||
  echo "build.sh: warning: the profile is of another version, library, compiler or machine, and does nothing here; run make train" >&2
