#!/bin/sh
#
# firewalld behind nfban.
#
# Purpose:        has firewalld hand nfban what it refuses in a zone, and the first packets of connections to the ports that the
#                 zone publishes. Changes nothing of what firewalld lets in; what it rejected is dropped.
# Prerequisites:  firewalld 1.2 or newer with its nftables backend (Debian 12), nft. Below: the zone to the outside, the published
#                 ports. /etc/nfban/nfban.yaml with
#                     capture:
#                       - nflog: {group: 100}
#                       - nflog: {group: 101, verdict: accepted}
#                     services: [22, 80, 443]
# Load:           sh firewalld.sh load
#                 Loading it again changes nothing. The rules are firewalld's own, in its running and its permanent
#                 configuration. The table `inet firewalld_invalid` is this script's: load it at boot, too.
# Expect:         nft list chain inet firewalld filter_IN_public_post    the rule that logs to group 100
#                 nfban status                                         packets with every probe
# Remove:         sh firewalld.sh remove
#
# nfban's own table stands beside firewalld's: it hooks prerouting at -450 and -150, firewalld input and forward at 10, and firewalld
# changes no table but its own, neither when it reloads nor when it stops. `firewall-cmd --set-log-denied` is not needed: it
# writes text to the kernel's log, which `nfban replay` reads.

set -eu

zone=public
published_ports='22 80 443'

# A priority above 0 comes after all that the zone accepts, one below 0 before it. Connections that are established have been
# accepted by then, so that what is logged as accepted is the first packet. Limits as in server.nft. firewalld knows no
# higher ones than a rate without a burst: 5 packets come at once.
rules() {
    echo "rule priority=32767 nflog group=100 prefix=nfban:refused limit value=10000/s drop"
    for port in $published_ports; do
        echo "rule priority=-32767 port port=$port protocol=tcp nflog group=101 prefix=nfban:accepted limit value=2000/s"
    done
}

each_rule() { # VERB
    rules | while read -r rule; do
        firewall-cmd --quiet --zone="$zone" "$1" "$rule"
        firewall-cmd --quiet --permanent --zone="$zone" "$1" "$rule"
    done
}

case ${1:-} in
    load)
        each_rule --add-rich-rule
        # firewalld drops what conntrack takes for invalid (FIN, NULL and Xmas probes) before any zone sees it: logged just before.
        nft -f - <<'RULES'
table inet firewalld_invalid
delete table inet firewalld_invalid
table inet firewalld_invalid {
	chain input {
		type filter hook input priority filter + 9; policy accept;
		iif "lo" return
		ct state invalid limit rate 10000/second burst 10000 packets log prefix "nfban:invalid" group 100 snaplen 128
	}
}
RULES
        ;;
    remove)
        each_rule --remove-rich-rule
        nft delete table inet firewalld_invalid
        ;;
    *)
        echo "usage: $0 load|remove" >&2
        exit 2
        ;;
esac
