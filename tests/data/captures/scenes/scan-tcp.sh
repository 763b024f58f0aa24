# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # sourced by `make`; addresses and ports have no spaces
# Scans of TCP ports from afar, by other tools and with what people do to hide them.
few=1-20,110,143,3306,8000-8007

record connect-ipv6.nflog probe -6 -sT -p $few $v6
record ack-ipv6.nflog probe -6 -sA -p $few $v6
record maimon-ipv6.nflog probe -6 -sM -p $few $v6

both masscan-tcp mass -p 1-30,8000-8010 $v4
both masscan-tcp-ipv6 mass6 -p 1-30,8000-8010 $v6
both hping3-scan hping -S --scan 1-30,8000-8010 $v4

# Ports in ascending order.
both nmap-sequential probe -r -sS -p $few $v4
# From the source port of a web server; and with so much data that it looks like a request.
both nmap-source-port-443 probe -g 443 -sS -p $few $v4
both nmap-data-length probe --data-length 200 -sS -p $few $v4
# To unprivileged ports that nobody is known to attack: twelve make a scan.
both nmap-high-ports probe -sT -p 20000-20015 $v4
# Cut into fragments of eight octets, which the firewall logs too before it puts them together.
record nmap-f.nflog probe -f -sS -p $few $v4
# 0.4 s between probes.
both nmap-T2 probe -T2 -sS -p 1-16 $v4
# What the system is and what runs there; its own probes of odd flags are part of the one scan.
both nmap-O probe -O --max-os-tries 1 -sS -p 22,80,443,1-20 $v4
record nmap-A.nflog probe -A --max-os-tries 1 -p 22,80,443,1-20 $v4
# The scanner hides among three addresses that it forges: each of the four looks the same.
both nmap-decoys probe -D 192.0.2.21,192.0.2.22,ME,203.0.113.44 -sS -p $few $v4

# Nine hosts by nine ports, none of which is attacked everywhere.
nine() { probe -sT -p 20001-20009 198.51.100.20-28; }
both nine-by-nine nine

# With a TTL that ends just behind us, as a traceroute's would: it is still a scan.
both low-ttl probe --ttl 6 -sS -p $few $v4

# One kind of impossible flags after the other.
flag_kinds() {
    probe -sF -p 31-33 $v4
    probe -sN -p 34-36 $v4
    probe -sX -p 37-39 $v4
    probe --scanflags SYNFIN -p 41-43 $v4
}
both flag-kinds flag_kinds

# Every kind of probe, each below the threshold of its rule.
mixed() {
    probe --scanflags SYNFIN -p 31-32 $v4
    probe -sN -p 33-34 $v4
    probe -sF -p 35-36 $v4
    probe -sX -p 37-38 $v4
    probe -sM -p 41-47 $v4
    probe -sA -p 51-57 $v4
    probe -sS -p 61-67 $v4
}
both mixed-flags mixed

# One port a minute, for forty minutes; one an hour, for more than a day.
patient() { probe -r --scan-delay 100ms --max-scan-delay 100ms -sS -p 1-40 $v4; }
stretch=600
both one-a-minute patient
stretch=36000
record one-an-hour.nflog patient
stretch=
