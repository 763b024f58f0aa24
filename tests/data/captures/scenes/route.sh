# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # sourced by `make`; addresses and ports have no spaces
# Who looks for the way to home, three routers away. Behind the firewall the tool goes on far beyond its end.
trace() { from_far traceroute -n -q 3 -w 1 -m 12 "$@"; }
both traceroute-udp trace $v4
both traceroute-udp-ipv6 trace -6 $v6
record traceroute-ten.nflog from_far traceroute -n -q 10 -w 1 $v4
record traceroute-icmp.ether trace -I $v4
record traceroute-icmp-ipv6.ether trace -6 -I $v6
both traceroute-tcp trace -T -p 81 $v4
both traceroute-tcp-ipv6 trace -6 -T -p 81 $v6
record traceroute-tcp-open.nflog trace -T -p 80 $v4
record mtr-icmp.ether from_far mtr -n -r -c 4 -i 0.3 $v4
both mtr-udp from_far mtr -n -r -u -c 4 -i 0.3 $v4
both mtr-tcp from_far mtr -n -r -T -P 81 -c 4 -i 0.3 $v4
both tracepath from_far tracepath -n -m 12 $v4
both tracepath-ipv6 from_far tracepath -6 -n -m 12 $v6
