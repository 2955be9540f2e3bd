#!/bin/sh
# run.sh [--no-netns] [SPEC...]: runs the specs (all of tests/spec by default) against real servers and waddle-peer; see support/peers.sh for those.
#
# WADDLE is the program to test, build/waddle by default; waddle-peer is taken from tests/ beside it. As root everything happens in a network of its
# own (support/netns.sh), otherwise, or with --no-netns, on the machine's loopback. The last line counts: "N passed, N failed, N skipped". The exit code
# is 0 when nothing failed, 2 when the tests could not begin. WADDLE_UNDER is a command that runs the program, if set (valgrind with its options);
# WADDLE_LIMIT_SECONDS is when all of it is ended, if not after 25 minutes.
# With --shell in place of specs: a shell that has the peers, to try things by hand.
set -eu

LIMIT_SECONDS=${WADDLE_LIMIT_SECONDS:-1500}
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
netns=yes
inside=
shell=
while [ $# -gt 0 ]; do
  case $1 in
  --no-netns) netns= ;;
  --inside) inside=yes ;; # what this script calls itself with
  --shell) shell=yes ;;
  -*) echo "run.sh: no option '$1', expected --no-netns, --shell or spec files" >&2; exit 2 ;;
  *) break ;;
  esac
  shift
done

waddle=${WADDLE:-$top/build/waddle}
peer=$(dirname "$waddle")/tests/waddle-peer
for needed in "$waddle" "$peer"; do
  [ -x "$needed" ] || { echo "run.sh: no $needed, build it first (./dev build)" >&2; exit 2; }
done

# Prints the command that gives a network and mounts of our own, if there is one. In a chroot unshare cannot make the mounts private, since the
# root is no mount point there; they may be so already: then this shell does not see what is mounted.
unsharing() {
  private="unshare --net --mount"
  if $private -- true; then
    echo "$private"
    return
  fi
  trial=$(mktemp -d)
  touch "$trial/here"
  mkdir "$trial/there"
  # shellcheck disable=SC2016 # for the inner shell
  if $private --propagation unchanged -- sh -ec 'mount --bind "$1" "$1/there"; if [ -e "/proc/$2/root$1/there/here" ]; then umount "$1/there"; exit 1; fi' \
    sh "$trial" $$; then
    echo "$private --propagation unchanged"
  fi
  rm -r "$trial"
}

if [ -z "$inside" ] && [ -n "$netns" ] && [ "$(id -u)" = 0 ]; then
  unsharing=$(unsharing 2>/dev/null) || true
  # shellcheck disable=SC2086 # a command and its options
  [ -z "$unsharing" ] || exec $unsharing -- sh "$0" --inside ${shell:+--shell} "$@"
fi

# shellcheck disable=SC1091 # they are checked on their own
. tests/support/certs.sh
# shellcheck disable=SC1091
. tests/support/peers.sh
# shellcheck disable=SC1091
. tests/support/netns.sh

work=$(mktemp -d)
tests=
# shellcheck disable=SC2317 # called by the trap
finish() {
  [ -z "$tests" ] || kill "$tests" 2>/dev/null || true
  stop_peers
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ -n "$inside" ]; then private_network "$work"; else no_private_network; fi
start_peers "$work" "$peer" || exit 2
if [ -n "$shell" ]; then
  "${SHELL:-sh}" || true
  exit 0
fi
[ $# -gt 0 ] || set -- tests/spec
status=0
# In the background, so that a signal to this script ends it at once; a shell lets its background jobs ignore SIGINT, the tests must not.
export WADDLE="$waddle" WADDLE_SPEC_RUNNING="$work/running" XDG_STATE_HOME="$work/state"
# shellcheck disable=SC2086 # a command and its options
env --default-signal=INT,QUIT ${leash:+setpriv --pdeathsig KILL --} timeout --foreground "$LIMIT_SECONDS" ${leash:+setpriv --pdeathsig KILL --} ${WADDLE_UNDER:-} "$waddle" run tests/busted.lua "$@" &
tests=$!
wait $tests || status=$?
tests=
[ $status -le 1 ] || echo "run.sh: $waddle ended with status $status in: $(cat "$work/running" 2>/dev/null)" >&2
exit $status
