# netns.sh: sourced by run.sh inside a network and mount namespace of its own.
#
# private_network DIR sets it up:
#   - loopback of both families, and ping sockets for everybody (net.ipv4.ping_group_range);
#   - DIR/hosts over /etc/hosts (localhost and peer.test), DIR/resolv.conf over /etc/resolv.conf: 127.0.0.1 with the search domain search.test,
#     where unbound answers on port 53 too; a spec may rewrite both files in place;
#   - where the kernel has veth: a router and a server behind it, each a network namespace of its own, so that ICMP errors come from somebody else:
#
#       tests  10.99.1.1, fd99:1::1  --  10.99.1.2, fd99:1::2  router  10.99.2.1, fd99:2::1  --(MTU 1300)--  10.99.2.2, fd99:2::2  server
#
#     10.99.7.9 fd99:7::9  no answer ever: the router drops what goes there
#     10.99.8.9 fd99:8::9  the router answers host unreachable (IPv6: no route)
#     10.99.9.9 fd99:9::9  the router answers administratively prohibited
#
# It exports WADDLE_PEER_PRIVATE=1, WADDLE_PEER_HOSTS and WADDLE_PEER_RESOLV_CONF; with the router WADDLE_PEER_ROUTER, WADDLE_PEER_ROUTED,
# WADDLE_PEER_BLACKHOLE, WADDLE_PEER_UNREACHABLE and WADDLE_PEER_PROHIBITED (addresses without a port), each with a twin whose name ends in _V6.
# Everything vanishes with the processes in it; the two that hold the namespaces are in $pids.
# shellcheck shell=sh

router_peers="router router_v6 routed routed_v6 blackhole blackhole_v6 unreachable unreachable_v6 prohibited prohibited_v6"

bind_over() {
  if [ -e "$2" ]; then
    mount --bind "$1" "$2"
  fi
}

# hold_namespace: starts a process in a new network namespace and sets $held to its id.
hold_namespace() {
  background unshare --net -- sleep infinity
  held=$!
  mine=$(readlink /proc/self/ns/net)
  until [ "$(readlink "/proc/$held/ns/net")" != "$mine" ]; do
    kill -0 "$held" 2>/dev/null || return 1
  done
}

inside() {
  nsenter --target "$1" --net -- sh -ec "$2"
}

make_router() {
  hold_namespace || return 1
  router=$held
  hold_namespace || return 1
  far=$held
  sh -ec "ip link add near0 type veth peer name near1 netns $router
    ip address add 10.99.1.1/24 dev near0; ip address add fd99:1::1/64 dev near0 nodad; ip link set near0 up" || return 1
  inside "$router" "ip link add far0 mtu 1300 type veth peer name far1 mtu 1300 netns $far
    ip link set lo up
    ip address add 10.99.1.2/24 dev near1; ip address add fd99:1::2/64 dev near1 nodad; ip link set near1 up
    ip address add 10.99.2.1/24 dev far0; ip address add fd99:2::1/64 dev far0 nodad; ip link set far0 up
    echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
    echo 0 >/proc/sys/net/ipv4/icmp_ratelimit; echo 0 >/proc/sys/net/ipv6/icmp/ratelimit
    ip route add blackhole 10.99.7.0/24; ip route add blackhole fd99:7::/64
    ip route add unreachable 10.99.8.0/24; ip route add unreachable fd99:8::/64
    ip route add prohibit 10.99.9.0/24; ip route add prohibit fd99:9::/64" || return 1
  inside "$far" 'ip link set lo up
    ip address add 10.99.2.2/24 dev far1; ip address add fd99:2::2/64 dev far1 nodad; ip link set far1 up
    echo 0 >/proc/sys/net/ipv4/icmp_ratelimit; echo 0 >/proc/sys/net/ipv6/icmp/ratelimit
    ip route add default via 10.99.2.1; ip route add default via fd99:2::1' || return 1
  sh -ec 'ip route add 10.99.0.0/16 via 10.99.1.2; ip route add fd99::/16 via fd99:1::2' || return 1
  export WADDLE_PEER_ROUTER=10.99.1.2 WADDLE_PEER_ROUTER_V6=fd99:1::2 WADDLE_PEER_ROUTED=10.99.2.2 WADDLE_PEER_ROUTED_V6=fd99:2::2
  export WADDLE_PEER_BLACKHOLE=10.99.7.9 WADDLE_PEER_BLACKHOLE_V6=fd99:7::9
  export WADDLE_PEER_UNREACHABLE=10.99.8.9 WADDLE_PEER_UNREACHABLE_V6=fd99:8::9
  export WADDLE_PEER_PROHIBITED=10.99.9.9 WADDLE_PEER_PROHIBITED_V6=fd99:9::9
}

private_network() {
  ip link set lo up
  # a container may have /proc/sys read-only; ping sockets then stay as they are
  echo "0 2147483647" >/proc/sys/net/ipv4/ping_group_range 2>/dev/null || true
  printf '127.0.0.1 localhost peer.test\n::1 localhost peer.test\n' >"$1/hosts"
  printf 'nameserver 127.0.0.1\nsearch search.test\n' >"$1/resolv.conf"
  bind_over "$1/hosts" /etc/hosts
  bind_over "$1/resolv.conf" /etc/resolv.conf
  export WADDLE_PEER_PRIVATE=1 WADDLE_PEER_HOSTS="$1/hosts" WADDLE_PEER_RESOLV_CONF="$1/resolv.conf"
  make_router 2>"$1/router.log" || missing "$router_peers" "no veth devices here"
}

# What stands in the place of private_network where there is none.
no_private_network() {
  missing "private hosts resolv_conf $router_peers" "no network of our own: not root, or --no-netns"
}
