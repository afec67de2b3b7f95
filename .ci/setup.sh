#!/usr/bin/env bash
# Installs what Fabric needs on this machine, once; a second run only looks.
#   DRIVER=libvirt|sim   WITH_TESTS=1 (test tools)   WITH_CLIENTS=1 (stock OpenStack clients)
#   WITH_BENCH=1 (what benchmarks compare with: Nova in a venv of its own; as root with DRIVER=libvirt Serf, etcd)
#   WITH_FUZZ=1 (only the fuzzer and what it needs, in a venv of its own)
# As root with DRIVER=libvirt it installs Debian packages; otherwise nothing outside this directory.
set -euo pipefail
cd "$(dirname "$0")/.."
DRIVER=${DRIVER:-sim}
LOG=.fabric/setup.log
mkdir -p .fabric
say() { printf '==> %s\n' "$*" >&2; }
fail() { printf 'step failed: %s\n  why: %s\n  log: %s\n' "$1" "$2" "$PWD/$LOG" >&2; exit 1; }
: >>"$LOG"

HOST_PACKAGES="gcc libc6-dev pkg-config python3 python3-dev python3-venv libvirt-dev libvirt-daemon-system
 libvirt-clients qemu-system-x86 qemu-utils dnsmasq-base nftables iproute2 iputils-ping kmod busybox-static
 dropbear-bin qemu-guest-agent linux-image-cloud-amd64 grub-pc-bin grub-common e2fsprogs lz4 openssh-client
 util-linux procps"
TEST_PACKAGES="postgresql libfaketime"
BENCH_PACKAGES="serf etcd-server"

install_packages() {
  local missing=""
  for name in $HOST_PACKAGES ${WITH_TESTS:+$TEST_PACKAGES} ${WITH_BENCH:+$BENCH_PACKAGES}; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q '^install ok installed' || missing="$missing $name"
  done
  [ -n "$missing" ] || return 0
  say "system packages:$missing"
  # the policy file keeps Debian from starting services of its own: ours run in their own namespaces
  local policy=/usr/sbin/policy-rc.d made=""
  if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' >$policy; chmod 755 $policy; made=1; fi
  local status=0
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
      -o DPkg::Lock::Timeout=500 $missing; } >>"$LOG" 2>&1 </dev/null || status=$?
  [ -z "$made" ] || rm -f $policy
  [ $status = 0 ] || fail "install system packages" "apt-get ended with $status: $(tail -n 1 "$LOG")"
}

pick_python() {
  local name
  for name in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$name"; return
    fi
  done
  fail "find Python" "no Python 3.11 or newer with the venv module; on Debian: apt-get install python3-venv"
}

# venv DIR LOCKFILE...: made once for each state of the lock files
venv() {
  local dir=$1; shift
  local want; want=$(cat "$@" pyproject.toml | cksum | tr ' ' -)-$(echo "$*" | cksum | cut -d' ' -f1)
  [ "$(cat "$dir/.complete" 2>/dev/null)" != "$want" ] || return 0
  [ -x "$dir/bin/python" ] || "$(pick_python)" -m venv "$dir" >>"$LOG" 2>&1 || fail "make $dir" "$(tail -n 1 "$LOG")"
  local file
  for file in "$@"; do
    say "$dir: $file"
    "$dir/bin/python" -m pip install --disable-pip-version-check -q --require-hashes -r "$file" >>"$LOG" 2>&1 ||
      fail "install $file into $dir" "$(grep -v WARNING "$LOG" | tail -n 1)"
  done
  if [ "$dir" = .venv ]; then
    "$dir/bin/python" -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e . >>"$LOG" 2>&1 ||
      fail "install fabric into $dir" "$(grep -v WARNING "$LOG" | tail -n 1)"
  fi
  echo "$want" >"$dir/.complete"
}

if [ -n "${WITH_FUZZ:-}" ]; then
  venv .venv-fuzz requirements-fuzz.lock
  exit
fi
# No `$(pick_python)` in an `||` list: its own failure must end us.
[ -x .venv/bin/python ] || [ "$DRIVER" = libvirt ] || pick_python >/dev/null
if [ "$DRIVER" = libvirt ]; then
  [ "$(id -u)" = 0 ] || fail "system packages" "DRIVER=libvirt needs root; without it: make up DRIVER=sim"
  install_packages
fi
locks=requirements.lock
[ "$DRIVER" != libvirt ] || locks="$locks requirements-libvirt.lock"
[ -z "${WITH_TESTS:-}" ] || locks="$locks requirements-dev.lock"
# a tree that has the test tools keeps them: `make up` after `make test` must not reinstall
if [ -z "${WITH_TESTS:-}" ] && [ -x .venv/bin/pytest ]; then locks="$locks requirements-dev.lock"; fi
if [ "$DRIVER" != libvirt ] && .venv/bin/python -c 'import libvirt' 2>/dev/null; then locks="requirements.lock requirements-libvirt.lock${locks#requirements.lock}"; fi
# shellcheck disable=SC2086
venv .venv $locks
[ -z "${WITH_BENCH:-}" ] || venv .venv-nova requirements-nova.lock
[ -z "${WITH_CLIENTS:-}" ] || venv .venv-clients tests/clients/requirements.lock
