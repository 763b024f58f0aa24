# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # sourced by `make`; addresses and ports have no spaces
# nmap on home's own link, every kind of scan it knows, 40 ports each.
ports=1-20,25,53,110,143,3306,8000-8014
scan() { from_world nmap -n -Pn --disable-arp-ping --max-retries 0 --min-rate 200 --host-timeout 20s -p $ports "$@"; }

both nmap-sS scan -sS $v4
both nmap-sT scan -sT $v4
both nmap-sF scan -sF $v4
both nmap-sN scan -sN $v4
both nmap-sX scan -sX $v4
both nmap-sM scan -sM $v4
both nmap-sA scan -sA $v4
both nmap-sW scan -sW $v4
both nmap-sU scan -sU $v4
both nmap-synfin scan --scanflags SYNFIN $v4
both nmap-sS-fragments scan -f -sS $v4
both nmap-sS-source-port-53 scan -g 53 -sS $v4
record nmap-sS.sll scan -sS $v4
record nmap-sS-ipv6.sll2 scan -6 -sS $v6
record nmap-sS-ipv6.nflog scan -6 -sS $v6
record nmap-sT-ipv6.ether scan -6 -sT $v6
record nmap-sX-ipv6.nflog scan -6 -sX $v6
record nmap-sU-ipv6.ether scan -6 -sU $v6
