#!/bin/sh
# image_inside.sh: the part of image.sh that runs where buildah is: /src holds the sources, /base a Debian root.
set -eu
cd /src

say() { printf 'image: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

clean() {
  status=$?
  buildah rm --all >/dev/null 2>&1 || true
  buildah rmi --all --force >/dev/null 2>&1 || true
  exit $status
}
trap clean EXIT
trap 'exit 130' INT TERM

say "importing the base image"
container=$(buildah from scratch)
cp -a /base/. "$(buildah mount "$container")/"
buildah umount "$container" >/dev/null
buildah commit -q --rm "$container" docker.io/library/debian:trixie-slim >/dev/null

say "building the Dockerfile"
# buildah asks for limits that an unprivileged root cannot raise: keep those there are.
limit() { awk -v name="$1" 'index($0, "Max " name " ") == 1 { sub("Max " name, ""); print $1 == "unlimited" ? -1 : $1 }' /proc/self/limits; }
processes=$(limit processes)
open_files=$(limit 'open files')
buildah build --pull=never --layers=false --ulimit "nproc=$processes:$processes" --ulimit "nofile=$open_files:$open_files" \
  -q -t waddle . >/dev/null
buildah inspect --type image --format '{{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.User}}' waddle
