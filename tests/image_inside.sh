#!/bin/sh
# image_inside.sh: the part of image.sh that runs where buildah is: /src holds the sources, /base a Debian root. The trial takes place in a
# network of its own, where ping sockets are allowed, as they are in containers of Docker.
set -eu
cd /src

say() { printf 'image: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

peers=
clean() {
  status=$?
  [ -z "$peers" ] || kill "$peers" 2>/dev/null || true
  [ "${1:-}" = keep ] || remove_images
  exit $status
}
remove_images() {
  buildah rm --all >/dev/null 2>&1 || true
  buildah rmi --all --force >/dev/null 2>&1 || true
}
trap clean EXIT
trap 'exit 130' INT TERM

# buildah asks for limits that an unprivileged root cannot raise: keep those there are.
limit() { awk -v name="$1" 'index($0, "Max " name " ") == 1 { sub("Max " name, ""); print $1 == "unlimited" ? -1 : $1 }' /proc/self/limits; }
limits="--ulimit nproc=$(limit processes):$(limit processes) --ulimit nofile=$(limit 'open files'):$(limit 'open files')"

if [ "${1:-}" != try ]; then
  say "importing the base image"
  container=$(buildah from scratch)
  cp -a /base/. "$(buildah mount "$container")/"
  buildah umount "$container" >/dev/null
  buildah commit -q --rm "$container" docker.io/library/debian:trixie-slim >/dev/null

  say "building the Dockerfile"
  # shellcheck disable=SC2086 # options
  buildah build --pull=never --layers=false $limits -q -t waddle . >/dev/null
  unshare --net sh "$0" try
  exit
fi

trap 'clean keep' EXIT
ip link set lo up
echo "0 2147483647" >/proc/sys/net/ipv4/ping_group_range

say "trying the agent in it"
# shellcheck disable=SC2086 # options
container=$(buildah from --pull=never $limits waddle)
root=$(buildah mount "$container")
entry=$(buildah inspect --format '{{range .OCIv1.Config.Entrypoint}}{{.}} {{end}}' "$container")
[ "$entry" = "/usr/local/bin/waddle agent " ] || die "the entry point is '$entry', expected the agent"
[ "$(buildah run "$container" -- id -u)" = 1000 ] || die "the image does not run as UID 1000"
if chroot "$root" ldd /usr/local/bin/waddle | grep "not found"; then
  die "the image lacks a library"
fi

# The other end runs beside the container, from the same files.
cp tests/bench/peers.lua "$root/tmp/peers.lua"
chroot --userspec=1000:1000 "$root" /usr/local/bin/waddle run /tmp/peers.lua >/tmp/ports &
peers=$!
until grep -q '^ready$' /tmp/ports; do
  kill -0 "$peers" || die "the peers did not start"
  sleep 0.05
done
port() { sed -n "s/^$1=//p" /tmp/ports; }

# agent ARGUMENT...: as docker run IMAGE ARGUMENT... would.
agent() {
  # shellcheck disable=SC2086 # the entry point's words
  buildah run --env MANAGER_URL="http://127.0.0.1:$(port manager)" --env DEVICE_SERIAL=image --env HTTP_TARGETS="http://127.0.0.1:$(port http)/" \
    --env TCP_TARGETS="127.0.0.1:$(port tcp)" --env UDP_TARGETS="127.0.0.1:$(port udp)" --env ICMP_TARGETS=127.0.0.1 "$container" -- $entry "$@"
}

# good WANTED ARGUMENT...: the agent with these arguments ends with 0 and reports WANTED good targets.
good() {
  wanted=$1
  shift
  status=0
  summary=$(agent "$@" 2>/tmp/log) || status=$?
  cat /tmp/log >&2
  printf '%s\n' "$summary"
  if grep -q "in memory" /tmp/log; then die "the agent cannot write to /data"; fi
  [ $status = 0 ] || die "the agent ended with $status for '$*'"
  [ "$(printf '%s\n' "$summary" | grep -c '✓')" = "$wanted" ] || die "expected $wanted good targets for '$*'"
}
good 1 --test-type http --http-target "http://127.0.0.1:$(port http)/bytes/1000"
good 4

kill "$peers"
wait "$peers"
peers=
[ "$(port stored)" = 5 ] || die "the manager stored $(port stored) results, expected 5"
say "ok: $(du -sh --apparent-size "$root" | cut -f 1) unpacked"
