#!/bin/sh
#
# nfban inline, in iptables and ip6tables: new connections wait for nfban's verdict before the firewall sees them.
#
# Purpose:        the packet that gives a scanner away is itself dropped, and so is everything after it: nothing of a scan gets
#                 through between the packet and the ban. For a server whose own firewall need not be touched: the rules are in
#                 the table mangle, refuse nothing, and only ask.
# Prerequisites:  iptables 1.8 or newer, nf_tables or legacy. /etc/nfban/nfban.yaml with
#                     capture:
#                       - nfqueue: {queue: 100}
#                       - nflog: {group: 100, verdict: invalid}
#                       - nflog: {group: 101, verdict: accepted}
#                     services: [22, 80, 443]
#                 Without server-iptables.sh or other rules that log what they refuse to group 100: that was queued before, and
#                 would be counted twice.
# Load:           sh inline-iptables.sh load
#                 Loading it again replaces its chains, `inline` and `inline-*`, in one transaction for each family. It puts one
#                 jump at the end of PREROUTING in the table mangle, and leaves every other rule alone. Rules that are added
#                 behind that jump see no new connection: a verdict leads on to the next table.
# Expect:         iptables -t mangle -nvL inline    the counter of NFQUEUE rises with every new connection
#                 nfban status                      nfqueue:100, with what was accepted and dropped
# Remove:         sh inline-iptables.sh remove
#
# While nothing listens on the queue, --queue-bypass lets every packet go on to the next table, where the firewall refuses it or
# not as it would without nfban. So only what has not been judged yet may be queued, and never what a firewall has refused:
# there, going on would mean to be let in. nfban asks for fail-open as well: what there is no room for passes.

set -eu

# Keep these equal to `services` in nfban.yaml, and to what the firewall behind lets in.
tcp_services=22,80,443

chains='inline inline-invalid'

# The table mangle comes after connection tracking, which the rules rely on, before address translation, so ports are those that
# the client sees, and before every chain of the table filter.
#
# What is for other hosts, for many, or forwarded is none of this: a router would queue what its own hosts open, too.
# Connections that stand never wait. Neighbour discovery is UNTRACKED, and never waits either.
#
# INVALID are FIN, NULL, Xmas and Maimon probes, SYN with FIN or RST. They begin nothing that could wait, and the firewall refuses
# them. What is published is no evidence in the queue: sweeps of a port that is open and SYN floods on one show in group 101.
# The limits are for all sources together and bound what logging costs (1 to 3 µs a packet).
ruleset() {
    cat <<RULES
*mangle
:inline - [0:0]
:inline-invalid - [0:0]
-A inline -i lo -j RETURN
-A inline -m addrtype ! --dst-type LOCAL -j RETURN
-A inline -m conntrack --ctstate INVALID -g inline-invalid
-A inline -m conntrack ! --ctstate NEW -j RETURN
-A inline -p tcp --tcp-flags FIN,SYN,RST,ACK,URG SYN -m multiport --dports $tcp_services -m limit --limit 2000/second --limit-burst 4000 -j NFLOG --nflog-group 101 --nflog-size 128 --nflog-prefix nfban:accepted
-A inline -j NFQUEUE --queue-num 100 --queue-bypass
-A inline-invalid -m limit --limit 10000/second --limit-burst 10000 -j NFLOG --nflog-group 100 --nflog-size 128 --nflog-prefix nfban:invalid
COMMIT
RULES
}

load() { # IPTABLES
    ruleset | "$1-restore" --wait --noflush
    "$1" --wait -t mangle -C PREROUTING -j inline 2>/dev/null || "$1" --wait -t mangle -A PREROUTING -j inline
}

remove() { # IPTABLES
    "$1" --wait -t mangle -D PREROUTING -j inline
    # A chain cannot go while another one jumps to it.
    for chain in $chains; do "$1" --wait -t mangle -F "$chain"; done
    for chain in $chains; do "$1" --wait -t mangle -X "$chain"; done
}

case ${1:-} in
    load)
        load iptables
        load ip6tables
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
