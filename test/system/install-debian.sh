#!/usr/bin/env bash
# Installs the programs the tests in this directory run, on Debian 12 as root. Does nothing when all are there.
set -euo pipefail

packages=(
  docker-registry skopeo busybox-static # the far registry and its images
  openssl tinyproxy-bin                 # the certificate of its token issuer; the only way out of a walled network
  docker.io containerd runc podman buildah # the clients
  chromium                              # the reader of the stats page
  influxdb prometheus                   # what reads the lines, metrics and rules written for it
  redis-server redis-sentinel           # what nodes share
  radosgw ceph-mon ceph-osd             # the store that nodes share: Ceph
  swift-proxy swift-account swift-container swift-object memcached # and Swift
  haproxy                               # before several nodes
  nginx-light wrk                       # the bench: a peer and the far registry, and the clients
  python3-minimal iproute2              # the bench: its long link
  slapd ldap-utils                      # a directory of users
  systemd curl                          # what reads the unit; what the documents tell people to type
  lintian binutils                      # the Debian package: what checks it, and strip
  zsh fish man-db mandoc                # what reads completions and the manual page
)

say() { printf 'install-debian.sh: %s\n' "$*" >&2; }

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

# shellcheck source=/dev/null
release=$(. /etc/os-release 2>/dev/null && printf '%s-%s' "${ID:-}" "${VERSION_ID:-}") || release=unknown
if [ "$release" != debian-12 ]; then
  say "this is $release, not Debian 12: install by other means: ${missing[*]}"
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  say "not root: run it with sudo to install: ${missing[*]}"
  exit 1
fi

# Nothing installed here may start by itself: it would take ports and data directories of the machine.
policy=/usr/sbin/policy-rc.d
kept=$(mktemp)
restore() {
  if [ -s "$kept" ]; then cp --preserve=mode "$kept" "$policy"; else rm -f "$policy"; fi
  rm -f "$kept"
}
trap restore EXIT
if [ -e "$policy" ]; then cp --preserve=mode "$policy" "$kept"; fi
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
say "installing ${missing[*]}"
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
