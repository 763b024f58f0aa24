# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # sourced by `make`; addresses and ports have no spaces
# Floods, of 1,100 packets at 300 a second, and pings at 500.
flood() { hping -i u3000 -c 1100 "$@"; }
both syn-flood flood -S -p 81 $v4
record syn-flood-open.nflog flood -S -p 80 $v4
both udp-flood flood --udp -p 9 -d 64 $v4
both syn-flood-ipv6 from_far nping -6 --tcp --flags syn -p 81 -c 1100 --rate 300 $v6
# Pings of one conversation are `established` after the first: only a firewall that lets none through refuses any.
edit='/echo-request limit/d'
both ping-flood hping -1 -i u2000 -c 500 $v4
both ping-flood-ipv6 from_far ping -6 -q -i 0.002 -c 500 $v6
edit=

# Echo requests to a broadcast address in the name of a victim, who would get the answers of the whole link.
both smurf from_world hping3 -q -1 -i u3000 -c 120 -a 192.0.2.80 198.51.100.255
record smurf-ipv6.ether from_world ping -6 -q -i 0.02 -c 20 -I up0 ff02::1
