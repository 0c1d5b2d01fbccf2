#!/usr/bin/env bash
# The newest clients Debian knows, and its newest Compose and HAProxy, in a tree of files that the machine's own programs
# know nothing of.
#
# newer-clients.sh fetch DIRECTORY: has the tree in DIRECTORY/root. Fetches it (190 MB, half a minute) unless it is there and
# was made by this script within the last 30 days. Ends with 1 and a reason where it cannot be had. Needs apt and dpkg.
#
# newer-clients.sh enter DIRECTORY SCRATCH COMMAND...: becomes COMMAND with the tree as its root. Processes, devices and the
# directory SCRATCH are the machine's own; mounts are seen by the command and what it starts, and end with them. The files of
# $OVER_ETC/etc, if that is set, lie over those of the tree's /etc. Needs root.
set -euo pipefail

suite=sid
# The last one is for who enters the tree.
packages=(docker.io docker-cli docker-compose containerd runc podman buildah skopeo kind crane oras cosign notation haproxy mount)

die() { printf 'newer-clients.sh: %s\n' "$*" >&2; exit 1; }
usage() { die "usage: newer-clients.sh fetch DIRECTORY | enter DIRECTORY SCRATCH COMMAND..."; }
[ $# -ge 2 ] || usage
action=$1 directory=$(realpath -m "$2")
shift 2

if [ "$action" = enter ]; then
  [ $# -ge 2 ] || usage
  root="$directory/root" scratch=$1
  shift
  if [ "${ENTERED:-}" != "$$" ]; then exec env ENTERED=$$ unshare --mount "${BASH_SOURCE[0]}" enter "$directory" "$scratch" "$@"; fi
  unset ENTERED
  mount --make-rprivate /
  mount --bind "$root" "$root"
  mkdir -p "$root$scratch"
  for each in /proc /sys /dev "$scratch"; do mount --rbind "$each" "$root$each"; done
  if [ -n "${OVER_ETC:-}" ]; then
    mount -t tmpfs tmpfs "$root/mnt"
    mkdir "$root"/mnt/{upper,work}
    mount -t overlay overlay -o "lowerdir=$OVER_ETC/etc:$root/etc,upperdir=$root/mnt/upper,workdir=$root/mnt/work" "$root/etc"
    umount --lazy "$root/mnt"
  fi
  cd "$root"
  pivot_root . mnt
  export PATH=/usr/sbin:/usr/bin HOME=/root
  umount --lazy /mnt
  exec "$@"
fi
[ "$action" = fetch ] || usage

for program in apt-get dpkg-deb sha256sum flock; do
  command -v "$program" >/dev/null || die "needs $program"
done
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || die "needs $keyring"

# One at a time: whoever comes second finds what the first has fetched.
mkdir -p "$(dirname "$directory")"
exec 8>"$directory.lock"
flock 8
made=$(sha256sum "${BASH_SOURCE[0]}" | cut -d' ' -f1)
stamp="$directory/made"
if [ -n "$(find "$stamp" -mtime -30 2>/dev/null)" ] && [ "$(cat "$stamp")" = "$made" ]; then exit 0; fi

rm -rf "$directory"
mkdir -p "$directory"/{apt/lists/partial,apt/cache/archives/partial,root}
# Where this machine has its packages from, else Debian's own address.
mirror=$(awk '$1 == "URIs:" && $2 ~ /\/debian\/?$/ { print $2; exit } $1 == "deb" && $2 ~ /^http.*\/debian\/?$/ { print $2; exit }' \
  /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null || true)
printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "${mirror:-http://deb.debian.org/debian}" "$suite" >"$directory/apt/sources.list"
# Nothing is installed there yet, so that apt names whatever the packages need, down to the C library.
: >"$directory/apt/status"
options=(
  -qq -y
  -o "Dir::Etc::SourceList=$directory/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
  -o "Dir::State::Lists=$directory/apt/lists" -o "Dir::State::status=$directory/apt/status"
  -o "Dir::Cache=$directory/apt/cache" -o Acquire::Languages=none -o APT::Install-Recommends=false
  -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o Debug::NoLocking=true -o APT::Sandbox::User=root
)
apt-get "${options[@]}" update >&2 || die "no package lists of $suite from ${mirror:-deb.debian.org}"
apt-get "${options[@]}" --download-only install "${packages[@]}" >&2 ||
  die "$suite does not have all of ${packages[*]} now"

# What Debian's base-files and its setup make.
cd "$directory/root"
mkdir -p usr/{bin,sbin,lib,lib64} dev etc mnt proc root run sys tmp var/tmp
for name in bin sbin lib lib64; do ln -s "usr/$name" "$name"; done
ln -s /run var/run
printf 'root:x:0:0:root:/root:/bin/sh\nhaproxy:x:99:99::/nonexistent:/bin/false\n' >etc/passwd
printf 'root:x:0:\nhaproxy:x:99:\n' >etc/group
printf '127.0.0.1 localhost\n' >etc/hosts
# What is asked without the file, too; HAProxy wants one.
printf 'nameserver 127.0.0.1\n' >etc/resolv.conf
printf '%s\0' "$directory"/apt/cache/archives/*.deb | xargs -0 -n 1 -P "$(nproc)" sh -c 'dpkg-deb --extract "$0" .'
rm -rf "$directory/apt"
printf '%s\n' "$made" >"$stamp"
