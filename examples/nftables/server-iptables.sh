#!/bin/sh
#
# A server behind nfban, in iptables and ip6tables.
#
# Purpose:        publishes ssh, http and https and refuses everything else. Hands nfban what it refuses, the first packets
#                 of connections that it accepts, and of those that this host opens.
# Prerequisites:  iptables 1.8 or newer, nf_tables or legacy. /etc/nfban/nfban.yaml with
#                     capture:
#                       - nflog: {group: 100}
#                       - nflog: {group: 101, verdict: accepted}
#                       - nflog: {group: 103, verdict: outbound}
#                     services: [22, 80, 443]
#                     traps: [23, 3389, 5900]
# Load:           sh server-iptables.sh load
#                 Loading it again replaces its chains, `server` and `server-*`, in one transaction for each family. In INPUT
#                 it puts one jump first, and leaves every other rule and the policy alone; none of those is reached any more.
#                 In OUTPUT it puts one jump first, too, which returns.
# Expect:         iptables -nvL server-refused    the counter of NFLOG rises with every probe
#                 nfban status                    the same packets, by source
# Remove:         sh server-iptables.sh remove
#
# Not for routers: nothing is done in FORWARD. iptables hooks INPUT at priority 0: after defragmentation (-400), connection
# tracking (-200) and nfban's own chains (-450 and -150), so what nfban drops is neither seen nor logged again here. The raw
# table (-300) comes after defragmentation, too: for fragments, load the chains `fragment` and `fragment-log` of server.nft in
# a table of their own. They live beside iptables.

set -eu

# Keep these equal to `services` in nfban.yaml: a probe of a published port is no evidence.
tcp_services=22,80,443

# Keep this equal to `listen` of `trap` in nfban.yaml. nfban leads connections to traps there; what is sent to that port itself
# is refused.
trap_listener=28023

chains='server server-ping server-accepted server-invalid server-refused server-outbound server-opened'

# The chains, for both families. Each -g (goto) ends in a chain that ends in a verdict, but for connections that
# this host opens: those are logged, and no rule here has a say in them.
#
# Pings come before connection tracking's verdict: from the second on, those with one echo id are ESTABLISHED, and a flood of
# them would pass. Above the limit they are refused and thereby counted; nfban asks for 300 within 10 seconds from one source,
# so an honest one (five a second is much) is not taken for a flood even while somebody else's uses the limit up.
#
# INVALID is what can neither begin nor continue a connection: FIN, NULL, Xmas and Maimon probes, SYN with FIN or RST. NEW is
# no proof of a SYN: connection tracking takes over connections that it did not see begin
# (net.netfilter.nf_conntrack_tcp_loose), so an ACK probe (nmap -sA, -sW) is NEW. Only a SYN may pass.
#
# The limits bound what logging costs while under a flood. They are for all sources together: lower ones would let a flood
# hide a scan. 10,000/s is the most that iptables knows. 2000/s of accepted connections cost 0.6 % of a CPU and show a sweep
# of an open port over a /24 among 4000 new connections a second, and a flood that is a twentieth of them all. Size 128
# holds IPv6 with extension headers and TCP with options.
#
# There is no --nflog-threshold on purpose: the kernel takes the lesser of the rule's and the listener's, and nfban chooses
# its own (1 while it is quiet, so that a ban follows its packet at once).
#
# DROP and not REJECT: a scanner that gets no answer learns nothing and has to wait for it.
ruleset() { # ESSENTIAL: the rules of this family that come before connection tracking's verdict, ECHO: its echo request
    cat <<RULES
*filter
:server - [0:0]
:server-ping - [0:0]
:server-accepted - [0:0]
:server-invalid - [0:0]
:server-refused - [0:0]
:server-outbound - [0:0]
:server-opened - [0:0]
-A server -i lo -j ACCEPT
$1
-A server $2 -g server-ping
-A server -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A server -m conntrack --ctstate INVALID -g server-invalid
-A server -p tcp --dport $trap_listener --tcp-flags FIN,SYN,RST,ACK,URG SYN -m conntrack --ctstate DNAT -j ACCEPT
-A server -p tcp --tcp-flags FIN,SYN,RST,ACK,URG SYN -m multiport --dports $tcp_services -g server-accepted
-A server -g server-refused
-A server-ping -m limit --limit 20/second --limit-burst 40 -j ACCEPT
-A server-ping -g server-refused
-A server-accepted -m limit --limit 2000/second --limit-burst 4000 -j NFLOG --nflog-group 101 --nflog-size 128 --nflog-prefix nfban:accepted
-A server-accepted -j ACCEPT
-A server-invalid -m limit --limit 10000/second --limit-burst 10000 -j NFLOG --nflog-group 100 --nflog-size 128 --nflog-prefix nfban:invalid
-A server-invalid -j DROP
-A server-refused -m limit --limit 10000/second --limit-burst 10000 -j NFLOG --nflog-group 100 --nflog-size 128 --nflog-prefix nfban:refused
-A server-refused -j DROP
-A server-outbound -o lo -j RETURN
-A server-outbound -m conntrack --ctstate NEW -g server-opened
-A server-outbound -p tcp -m conntrack --ctstate INVALID --tcp-flags SYN,RST,ACK NONE -g server-opened
-A server-outbound -p tcp -m conntrack --ctstate INVALID --tcp-flags FIN,SYN FIN,SYN -g server-opened
-A server-opened -m limit --limit 1000/second --limit-burst 2000 -j NFLOG --nflog-group 103 --nflog-size 128 --nflog-prefix nfban:outbound
COMMIT
RULES
}

# Neighbour discovery and multicast listener queries are untracked. A hop limit of 255 (RFC 4861, section 6.1) and a link-local
# source (RFC 2710, section 3) prove that the sender is on this link. The last rule is for DHCPv6 replies.
ipv6_essential='-A server -p icmpv6 --icmpv6-type router-solicitation -m hl --hl-eq 255 -j ACCEPT
-A server -p icmpv6 --icmpv6-type router-advertisement -m hl --hl-eq 255 -j ACCEPT
-A server -p icmpv6 --icmpv6-type neighbour-solicitation -m hl --hl-eq 255 -j ACCEPT
-A server -p icmpv6 --icmpv6-type neighbour-advertisement -m hl --hl-eq 255 -j ACCEPT
-A server -p icmpv6 --icmpv6-type 130 -s fe80::/10 -j ACCEPT
-A server -p udp -s fe80::/10 -d fe80::/10 --sport 547 --dport 546 -j ACCEPT'

load() { # IPTABLES RULES
    printf '%s\n' "$2" | "$1-restore" --wait --noflush
    "$1" --wait -C INPUT -j server 2>/dev/null || "$1" --wait -I INPUT -j server
    "$1" --wait -C OUTPUT -j server-outbound 2>/dev/null || "$1" --wait -I OUTPUT -j server-outbound
}

remove() { # IPTABLES
    "$1" --wait -D INPUT -j server
    "$1" --wait -D OUTPUT -j server-outbound
    # A chain cannot go while another one jumps to it.
    for chain in $chains; do "$1" --wait -F "$chain"; done
    for chain in $chains; do "$1" --wait -X "$chain"; done
}

case ${1:-} in
    load)
        load iptables "$(ruleset '' '-p icmp --icmp-type echo-request')"
        load ip6tables "$(ruleset "$ipv6_essential" '-p icmpv6 --icmpv6-type echo-request')"
        ;;
    remove)
        remove iptables
        remove ip6tables
        ;;
    *)
        echo "usage: $0 load|remove" >&2
        exit 2
        ;;
esac
