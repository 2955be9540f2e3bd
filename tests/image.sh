#!/bin/sh
# image.sh: builds the image of the Dockerfile without Docker, a registry or a daemon, and runs the agent in it against local peers.
# buildah runs inside a Debian root made by debootstrap, so the machine itself gets no package but debootstrap. Mounts live in a mount
# namespace of this script and end with it. Needs root. The roots stay in the cache folder; the image is not kept.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/var/cache}/.cache}/waddle/image
base=$cache/base
tools=$cache/tools

say() { printf 'image: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[ "$(id -u)" = 0 ] || die "needs root: it makes Debian roots and mounts"

# Proxies and the like that the machine's apt uses, in a form for another root.
apt_settings() {
  apt-config dump | grep -E '^Acquire::[a-z:]*(Proxy|Verify)' || true
}

make_base() {
  [ ! -e "$base/.done" ] || return 0
  say "making a Debian root with debootstrap"
  command -v debootstrap >/dev/null || { apt-get -qq update && apt-get -qq install -y --no-install-recommends debootstrap >/dev/null; }
  rm -rf "$base"
  mkdir -p "$cache"
  debootstrap --variant=minbase trixie "$base" >"$cache/debootstrap.log" 2>&1 || die "debootstrap failed, see $cache/debootstrap.log"
  apt_settings >"$base/etc/apt/apt.conf.d/90local"
  rm -rf "$base"/var/cache/apt/archives/*.deb "$base"/var/lib/apt/lists/*
  : >"$base/.done"
}

enter_tools() {
  chroot "$tools" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs \
    DEBIAN_FRONTEND=noninteractive "$@"
}

mount_tools() {
  mount --bind "$tools" "$tools" # a root that is a mount, as buildah wants it
  mount -t proc proc "$tools/proc"
  mount --rbind /sys "$tools/sys"
  mount --rbind /dev "$tools/dev"
  cp -L /etc/resolv.conf "$tools/etc/resolv.conf"
  mkdir -p "$tools/src" "$tools/base"
  mount --bind "$base" "$tools/base"
}

make_tools() {
  if [ ! -e "$tools/.done" ]; then
    say "installing buildah in a root of its own"
    rm -rf "$tools"
    cp -a "$base" "$tools"
    rm "$tools/.done"
    mount_tools
    enter_tools sh -c "apt-get -qq update && apt-get -qq install -y --no-install-recommends buildah iproute2 netavark" >"$cache/tools.log" 2>&1 ||
      die "could not install buildah, see $cache/tools.log"
    : >"$tools/.done"
  else
    mount_tools
  fi
}

# A copy, not a mount of the work tree: what is built is what a clone has, without build folders.
copy_sources() {
  rm -rf "$tools/src"
  mkdir "$tools/src"
  (cd "$top" && tar -c --exclude=./.git --exclude='./build' --exclude='./build-*' .) | tar -x -C "$tools/src"
}

if [ "${1:-}" != inside ]; then
  make_base
  exec unshare --mount --propagation private sh "$0" inside
fi

make_tools
copy_sources
enter_tools sh /src/tests/image_inside.sh
