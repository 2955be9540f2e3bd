#!/bin/sh
# shaped.sh COMMAND...: runs a command where everything to 10.89.0.0/16 leaves through a shaper of 4 Mbit/s and is answered at once: in a network of
# its own with a veth device, the hosts in another one behind it. Run by shaped_spec.lua as root, or as root of a user namespace, in a new network
# namespace. Ends with 77 and the reason where such a network cannot be had.
set -u
PATH=$PATH:/usr/sbin:/sbin
unshare --net sleep 60 &
far=$!
trap 'kill $far' EXIT
own=$(readlink /proc/self/ns/net)
for _ in $(seq 200); do
  [ "$(readlink /proc/$far/ns/net)" != "$own" ] && break
  sleep 0.01
done
set -e
{
  ip link set lo up
  ip link add near type veth peer name far netns $far
  ip addr add 10.88.0.1/30 dev near
  ip link set near up
  nsenter --net=/proc/$far/ns/net sh -ec '
    ip link set lo up
    ip addr add 10.88.0.2/30 dev far
    ip link set far up
    ip route add local 10.89.0.0/16 dev lo'
  ip route add 10.89.0.0/16 via 10.88.0.2
  tc qdisc add dev near root tbf rate 4mbit burst 2kb limit 4mb
} || exit 77
set +e
"$@"
