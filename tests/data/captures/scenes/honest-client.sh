# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # sourced by `make`; addresses and ports have no spaces
# Honest clients from afar.
visit_home() { from_far curl -s -m 1 "$@"; }

# A browser in a hurry: 200 connections at once.
both browser-200 visit_home -Z --parallel-immediate --parallel-max 200 "http://$v4/[1-200]"

# A mail program looks for seven services that are not there; its user also works by ssh and visits both web sites.
mail_setup() {
    for port in 22 80 443; do visit_home "http://$v4:$port/"; done
    for service in imap:143 imap:993 pop3:110 pop3:995 smtp:587 smtp:465 smtp:25; do
        visit_home "${service%:*}://$v4:${service#*:}"
    done
    for port in 80 443; do visit_home "http://$v4:$port/"; done
}
both mail-setup mail_setup
# A port knocker's three ports, and what they open.
knock() { for port in 7000 8000 9000 22; do visit_home "http://$v4:$port/"; done; }
both port-knocking knock

# BitTorrent peers that still know home: of one /24 (a big provider), of the whole world, and by IPv6; TCP and uTP.
torrent() {
    from_far $python bed/peers.py connect $v4 51413 203.0.113.10 200 1
    from_far $python bed/peers.py utp $v4 51413 203.0.113.10 200 1
    from_far $python bed/peers.py connect $v4 6881 192.0.2.10 60 1
    from_far $python bed/peers.py utp $v6 51413 2001:db8:7:1::1 100 18446744073709551616
}
both bittorrent torrent

# Sixty users behind one address.
cgnat() {
    for port in 443 80 8080 993 8443 5222 22; do from_far $python bed/peers.py connect $v4 $port 203.0.113.7 60 0; done
}
both cgnat cgnat

# Every second a balancer looks at one port that is open and one that is closed: a minute of it.
health() {
    for _ in $(seq 60); do
        visit_home "http://$v4/"
        hping -c 1 -S -p 8081 $v4 &
        sleep 0.05
    done
}
stretch=20
both health-check health
stretch=
record monitor.ether from_far ping -c 60 -i 0.2 $v4
record monitor-ipv6.ether from_far ping -6 -c 60 -i 0.2 $v6

# A proxy before home opens a connection for each request: 700 in some seconds.
record busy-proxy.nflog from_far $python bed/peers.py connect $v4 443 203.0.113.7 700 0

# A crawler visits twelve hosts of ours.
crawl() { visit_home "http://198.51.100.[20-31]:443/"; }
both crawler crawl

# Explicit congestion notification (RFC 3168) and its accurate kind, to open and closed ports.
ecn() {
    ip netns exec "$far" sysctl -q -w net.ipv4.tcp_ecn="$1"
    for port in 80 443 25 110 143 8080; do visit_home "http://$v4:$port/"; done
    ip netns exec "$far" sysctl -q -w net.ipv4.tcp_ecn=2
}
both ecn ecn 1
both accecn ecn 3

# Datagrams larger than a frame, and pings too.
large() {
    hping --udp -q -p 4500 -s 4500 -k -d 3000 -c 10 -i u20000 $v4
    from_far ping -c 10 -i 0.02 -s 4000 $v4
    from_far ping -6 -c 10 -i 0.02 -s 4000 $v6
}
both large-datagrams large
# Tunnels and routing protocols: ESP, AH, GRE, SCTP, OSPF, PIM, VRRP, IP in IP.
tunnels() { for protocol in 50 51 47 132 89 103 112 4; do hping --rawip -H $protocol -d 40 -c 3 -i u20000 $v4; done; }
both tunnels tunnels

# FTP. serve_ftp NAMESPACE: passive data on 40000 to 40050.
serve_ftp() {
    mkdir -p "$work/ftp"
    echo hello >"$work/ftp/file"
    ip netns exec "$1" $python -m pyftpdlib -p 21 -r 40000-40050 -d "$work/ftp" 2>"$work/ftp.log" &
    ftp_server=$!
    processes="$processes $ftp_server"
    until grep -qs 'starting FTP' "$work/ftp.log"; do sleep 0.1; done
}
# passive COUNT   downloads that many files, for which the firewall must let data connections through.
passive() {
    serve_ftp "$home"
    for _ in $(seq "$1"); do visit_home "ftp://$v4/file"; done
    kill $ftp_server
    wait $ftp_server || true
}
record ftp-passive.ether passive 20
# The firewall publishes 21 and nothing else; a person gives up after five files.
edit='s/tcp \. 22,/tcp . 21, tcp . 22,/'
record ftp-passive.nflog passive 5
# A program does not: nfban is told the range, as its manual asks.
record ftp-passive-published.nflog passive 20
edit=
# Home fetches from a server that connects back.
active() {
    serve_ftp "$far"
    for _ in 1 2 3 4 5; do from_home curl -s -m 1 -P - ftp://203.0.113.7/file; done
    kill $ftp_server
    wait $ftp_server || true
}
both ftp-active active
