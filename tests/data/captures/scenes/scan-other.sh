# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # sourced by `make`; addresses and ports have no spaces
# Scans of UDP ports and IP protocols, ICMP queries, and searches for hosts, from afar.
both masscan-udp mass -pU:1-40 $v4
record udp-ipv6.nflog probe -6 -sU -p 1-40 $v6
both nmap-sO probe -sO -p 60-140 $v4
both nmap-sO-ipv6 probe -6 -sO -p 61-140 $v6

# Timestamp, address mask and node information queries.
both hping3-timestamp hping --icmptype 13 -c 5 -i u200000 $v4
both hping3-address-mask hping --icmptype 17 -c 5 -i u200000 $v4
record nmap-PP-PM.ether from_far nmap -n -sn -PP -PM 198.51.100.20-25
both node-information from_far ping -6 -N name -c 5 -i 0.2 $v6

# Which of forty hosts are there: by echo, and by nmap's own mix of echo, SYN to 443, ACK to 80 and timestamp.
record nmap-sn-echo.ether from_far nmap -n -sn -PE $hosts4
record nmap-sn-echo-ipv6.ether from_far nmap -6 -n -sn -PE $hosts6
both nmap-sn from_far nmap -n -sn $hosts4

# By timestamp alone, and by FIN probes of one port.
record timestamp-sweep.nflog from_far nmap -n -sn -PP $hosts4
both fin-sweep probe -sF -p 23 $hosts4

# One closed port of forty hosts.
both zmap-8080 zmap_sweep 198.51.100.0/26 -p 8080
both masscan-sweep mass -p 3390 198.51.100.20-198.51.100.59
both sweep-ipv6 probe -6 -sS -p 8081 $hosts6
both udp-sweep probe -sU -p 161 $hosts4
both nbtscan from_far nbtscan -v 198.51.100.20-59

# One open port of all hosts: nothing is refused.
record zmap-443-open.nflog zmap_sweep 198.51.100.0/24 -p 443
record masscan-22-open.nflog mass -p 22 198.51.100.0/24
record sweep-443-open-ipv6.nflog probe -6 -sT -p 443 $all6

# One port that other hosts publish, and these forty do not: by SYNs made by hand, and by clients that only try to connect.
edit="s/tcp . 22, //"
record masscan-22-refused.nflog mass -p 22 198.51.100.20-198.51.100.59
record connect-22-refused.nflog probe -sT -p 22 $hosts4
edit=
