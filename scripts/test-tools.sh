#!/bin/bash
# What the tests use beside Node, fetched where it is missing (Debian and its kin; root, or sudo that asks nothing):
# - python3-grpcio, a gRPC client that is not ours; as Debian packages it, that is, for Debian's own Python
# - a C compiler for a library that fails syncs, and mkfs for a small disk to fill (test/crash)
# - curl, ss, ping and nc, which OPERATIONS tells its readers to use
# - real shells for completion, tmux for `sutra top`, systemd's parser for the unit, groff for the manual page, openssl
# - prometheus and promtool for the rules and the metrics: unpacked beside node_modules, for its package would start a daemon
# Where nothing can be fetched it says what is missing and goes on: the tests that need it fail and name it.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
/usr/bin/python3 -c 'import grpc' 2>/dev/null || packages+=(python3-grpcio)
/usr/bin/python3 -c 'import yaml' 2>/dev/null || packages+=(python3-yaml)
command -v cc >/dev/null || packages+=(gcc libc6-dev)
PATH="$PATH:/usr/sbin:/sbin" command -v mkfs.ext4 >/dev/null || packages+=(e2fsprogs)
command -v openssl >/dev/null || packages+=(openssl)
command -v tmux >/dev/null || packages+=(tmux)
command -v zsh >/dev/null || packages+=(zsh)
command -v fish >/dev/null || packages+=(fish)
command -v systemd-analyze >/dev/null || packages+=(systemd)
command -v groff >/dev/null || packages+=(groff-base)
command -v col >/dev/null || packages+=(bsdextrautils)
command -v curl >/dev/null || packages+=(curl)
command -v ss >/dev/null || packages+=(iproute2)
command -v ping >/dev/null || packages+=(iputils-ping)
command -v nc >/dev/null || packages+=(netcat-openbsd)
unpacked=node_modules/.cache/sutra-test-tools
prometheus=()
if [ ! -x "$unpacked/usr/bin/promtool" ] && ! command -v promtool >/dev/null; then prometheus=(prometheus); fi
if [ "${#packages[@]}" -eq 0 ] && [ "${#prometheus[@]}" -eq 0 ]; then exit 0; fi

missing="${packages[*]} ${prometheus[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then as_root=(sudo -n); fi
if ! command -v apt-get >/dev/null || ! ${as_root[@]+"${as_root[@]}"} true 2>/dev/null; then
  echo "some tests will fail for want of Debian packages that cannot be fetched here: $missing" >&2
  exit 0
fi
echo "fetching what the tests use: $missing" >&2
export DEBIAN_FRONTEND=noninteractive
${as_root[@]+"${as_root[@]}"} apt-get update -qq
if [ "${#packages[@]}" -gt 0 ]; then
  ${as_root[@]+"${as_root[@]}"} apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
if [ "${#prometheus[@]}" -gt 0 ]; then
  mkdir -p "$unpacked"
  (
    cd "$unpacked"
    apt-get download -qq prometheus
    dpkg-deb -x prometheus_*.deb .
    rm prometheus_*.deb
  )
fi
