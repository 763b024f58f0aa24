#!/bin/sh
#
# Containers of Docker behind nfban, in iptables and ip6tables.
#
# Purpose:        leaves the ports that Docker publishes to everybody, those of `inside_ports` below to the networks inside
#                 alone, and refuses whatever else comes from outside for a container. Hands nfban what it refuses, the first
#                 packets of connections to published ports, and of those that containers open. For the host's own ports
#                 load server-iptables.sh beside it: packets for containers do not pass INPUT.
# Prerequisites:  Docker with its iptables rules (the default; for IPv6 `"ip6tables": true`), iptables 1.8. Below: the device
#                 to the outside, the published ports. /etc/nfban/nfban.yaml with
#                     capture:
#                       - nflog: {group: 100}
#                       - nflog: {group: 101, verdict: accepted}
#                       - nflog: {group: 103, verdict: outbound}
#                     home: [172.16.0.0/12]
#                     services: [22, 80, 443, 8080]
# Load:           sh docker-iptables.sh load
#                 After Docker has started: it needs the chain DOCKER-USER, which Docker keeps when it makes its own rules anew.
#                 Loading it again replaces its chains, `containers` and `containers-*`, in one transaction for each family.
# Expect:         iptables -nvL containers    the counter of its last rule rises with every probe of a container
#                 nfban status                the same packets, by source
# Remove:         sh docker-iptables.sh remove
#
# nfban's own table drops banned sources at prerouting, before Docker translates anything: a ban covers containers as it is, and
# ends the connections that were translated. Ports are meant as the client sees them, 8080 and not the container's 80. At the
# FORWARD hook, where DOCKER-USER is, a translated packet has the container's. So what Docker translates is looked at before
# that, in the mangle table at PREROUTING (-150), and DOCKER-USER refuses only what was not translated.

set -eu

outside=eth0
# Published with `docker run --publish`, as the client sees them: for everybody, and for the networks inside alone.
published_ports=80,443,8080
inside_ports=5432,9090
inside4=10.0.0.0/8
inside6=fd00::/8

# The limits are those of server-iptables.sh, for the same reasons.
ruleset() { # INSIDE
    cat <<RULES
*mangle
:containers-published - [0:0]
:containers-inside - [0:0]
-A containers-published -p tcp -m multiport --dports $inside_ports -m addrtype --dst-type LOCAL ! -s $1 -g containers-inside
-A containers-published -p tcp --tcp-flags FIN,SYN,RST,ACK,URG SYN -m multiport --dports $published_ports -m addrtype --dst-type LOCAL -m conntrack --ctstate NEW -m limit --limit 2000/second --limit-burst 4000 -j NFLOG --nflog-group 101 --nflog-size 128 --nflog-prefix nfban:accepted
-A containers-inside -m limit --limit 10000/second --limit-burst 10000 -j NFLOG --nflog-group 100 --nflog-size 128 --nflog-prefix nfban:refused
-A containers-inside -j DROP
COMMIT
*filter
:containers - [0:0]
-A containers -o $outside -m conntrack --ctstate NEW -m limit --limit 1000/second --limit-burst 2000 -j NFLOG --nflog-group 103 --nflog-size 128 --nflog-prefix nfban:outbound
-A containers ! -i $outside -j RETURN
-A containers -m conntrack --ctstate ESTABLISHED,RELATED,DNAT -j RETURN
-A containers -m limit --limit 10000/second --limit-burst 10000 -j NFLOG --nflog-group 100 --nflog-size 128 --nflog-prefix nfban:refused
-A containers -j DROP
COMMIT
RULES
}

# Docker puts its DOCKER-USER into FORWARD itself.
jumps() { # IPTABLES ACTION
    "$1" --wait -t mangle "$2" PREROUTING -i "$outside" -j containers-published
    "$1" --wait "$2" DOCKER-USER -j containers
}

load() { # IPTABLES INSIDE
    ruleset "$2" | "$1-restore" --wait --noflush
    jumps "$1" -C 2>/dev/null || jumps "$1" -I
}

remove() { # IPTABLES
    jumps "$1" -D
    # A chain cannot go while another one jumps to it.
    for chain in containers-published containers-inside; do "$1" --wait -t mangle -F "$chain"; done
    for chain in containers-published containers-inside; do "$1" --wait -t mangle -X "$chain"; done
    "$1" --wait -F containers
    "$1" --wait -X containers
}

# IPv6 only where Docker does it, too.
for family in "iptables $inside4" "ip6tables $inside6"; do
    iptables=${family% *}
    "$iptables" --wait -n -L DOCKER-USER >/dev/null 2>&1 || {
        [ "$iptables" = ip6tables ] && continue
        echo "$0: there is no chain DOCKER-USER: start Docker first" >&2
        exit 1
    }
    case ${1:-} in
        load) load "$iptables" "${family#* }" ;;
        remove) remove "$iptables" ;;
        *)
            echo "usage: $0 load|remove" >&2
            exit 2
            ;;
    esac
done
