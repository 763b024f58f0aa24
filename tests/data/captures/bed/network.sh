# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # sourced by `make`; addresses and ports have no spaces
# The network of the captures, sourced by `make`. Nothing outside of these namespaces is touched.
#
#     far ── hop2 ── hop1 ── world ── home
#
# home    what we protect: 198.51.100.5 and 2001:db8:1::5, besides .20–.219 and ::20–::e7 of the same prefixes
# world   198.51.100.7 and 2001:db8:1::7 on home's own link, and its gateway
# far     who comes from the Internet, four hops away: every address of 203.0.113.0/24, 192.0.2.0/24 and 2001:db8:7::/48,
#         of which 203.0.113.7 and 2001:db8:7::7 are used where a tool does not choose
#
# home and far listen alike: see server.py.

for name in home world hop1 hop2 far; do eval "$name=nfban-captures-$name-$$"; done
work=$(mktemp -d)
processes=

cleanup() {
    status=$?
    for process in $processes; do kill "$process" 2>/dev/null || true; done
    for namespace in "$home" "$world" "$hop1" "$hop2" "$far"; do ip netns del "$namespace" 2>/dev/null || true; done
    rm -r "$work"
    exit $status
}
trap cleanup EXIT
trap 'exit 1' INT TERM

for namespace in "$home" "$world" "$hop1" "$hop2" "$far"; do
    ip netns add "$namespace"
    ip -n "$namespace" link set lo up
    # Routers tell of every packet that they drop, and nobody minds where a packet comes from.
    ip netns exec "$namespace" sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0 \
        net.ipv6.icmp.ratelimit=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
done
ip netns exec "$home" sysctl -q -w net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0

# cable LEFT DEVICE NUMBER RIGHT DEVICE NUMBER IPV4-PREFIX IPV6-PREFIX
cable() {
    ip link add "$2" netns "$1" type veth peer name "$5" netns "$4"
    for side in "$1 $2 $3" "$4 $5 $6"; do
        (
            four=$7
            six=$8
            # shellcheck disable=SC2086 # a namespace, a device and a number
            set -- $side
            ip -n "$1" link set "$2" addrgenmode none
            ip -n "$1" address add "$four.$3/24" broadcast + dev "$2"
            ip -n "$1" address add "$six::$3/64" dev "$2" nodad
            # Whoever forwards asks for the next hop from a link-local address (RFC 4861, section 7.2.2).
            ip -n "$1" address add "fe80::$3/64" dev "$2" nodad
            ip -n "$1" link set "$2" up
        )
    done
}
cable "$home" up0 5 "$world" up0 7 198.51.100 2001:db8:1
cable "$world" out0 1 "$hop1" in0 2 10.9.1 fd09:1
cable "$hop1" out0 1 "$hop2" in0 2 10.9.2 fd09:2
cable "$hop2" out0 1 "$far" up0 2 10.9.3 fd09:3

ip -n "$home" route add default via 198.51.100.7
ip -n "$home" -6 route add default via 2001:db8:1::7
inward() { # NAMESPACE GATEWAY4 GATEWAY6 [OPTIONS...]
    namespace=$1
    four=$2
    six=$3
    shift 3
    ip -n "$namespace" route add 198.51.100.0/24 via "$four" "$@"
    ip -n "$namespace" -6 route add 2001:db8:1::/64 via "$six"
}
outward() { # NAMESPACE GATEWAY4 GATEWAY6
    for prefix in 203.0.113.0/24 192.0.2.0/24; do ip -n "$1" route add $prefix via "$2"; done
    ip -n "$1" -6 route add 2001:db8:7::/48 via "$3"
}
outward "$world" 10.9.1.2 fd09:1::2
inward "$hop1" 10.9.1.1 fd09:1::1
outward "$hop1" 10.9.2.2 fd09:2::2
inward "$hop2" 10.9.2.1 fd09:2::1
outward "$hop2" 10.9.3.2 fd09:3::2
for prefix in 203.0.113.0/24 192.0.2.0/24; do ip -n "$far" route add local $prefix dev lo; done
ip -n "$far" -6 route add local 2001:db8:7::/48 dev lo
ip netns exec "$far" sysctl -q -w net.ipv6.ip_nonlocal_bind=1
ip -n "$far" address add 203.0.113.7/32 dev up0
ip -n "$far" address add 2001:db8:7::7/128 dev up0 nodad
inward "$far" 10.9.3.1 fd09:3::1 src 203.0.113.7
ip -n "$far" -6 route replace 2001:db8:1::/64 via fd09:3::1 src 2001:db8:7::7
# The answers of home to addresses that nobody has go the way of every other packet, and end there.
ip -n "$world" route add default via 10.9.1.2
ip -n "$hop1" route add blackhole default
ip -n "$hop2" route add blackhole default

v4=198.51.100.5
v6=2001:db8:1::5
for number in $(seq 20 219); do
    ip -n "$home" address add "198.51.100.$number/32" dev up0
    ip -n "$home" address add "2001:db8:1::$(printf %x $((number + 12)))/128" dev up0 nodad
done
# Forty of them, as nmap writes a range; and all.
hosts4=198.51.100.20-59
hosts6="$(for number in $(seq 32 71); do printf '2001:db8:1::%x ' "$number"; done)"
all6="$(for number in $(seq 32 231); do printf '2001:db8:1::%x ' "$number"; done)"

within() { # NAMESPACE COMMAND...
    namespace=$1
    shift
    ip netns exec "$namespace" timeout 60 "$@"
}
# Some tools fail where nobody answers, so what they say is not looked at: the number of packets is.
from_home() { within "$home" "$@" >/dev/null 2>&1 </dev/null || true; }
from_world() { within "$world" "$@" >/dev/null 2>&1 </dev/null || true; }
from_far() { within "$far" "$@" >/dev/null 2>&1 </dev/null || true; }

python=/usr/bin/python3
for namespace in "$home" "$far"; do
    ip netns exec "$namespace" $python bed/server.py "$work/ready.$namespace" &
    processes="$processes $!"
    while ! [ -e "$work/ready.$namespace" ]; do sleep 0.1; done
done
gateway_mac=$(ip -n "$hop2" -o link show out0 | sed 's/.*link.ether \([0-9a-f:]*\).*/\1/')
