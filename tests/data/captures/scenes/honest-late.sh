# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # sourced by `make`; addresses and ports have no spaces
# What comes late, or in answer to somebody else.

# late PORT   forty connections of home's to a server, forgotten by the firewall before the server sends and closes.
late() {
    rm -f "$work/connected" "$work/forgotten"
    within "$world" $python bed/late.py serve "$1" 40 "$work/forgotten" &
    server=$!
    within "$home" $python bed/late.py hold 198.51.100.7 "$1" 40 "$work/connected" &
    client=$!
    processes="$processes $server $client"
    until [ -e "$work/connected" ]; do sleep 0.1; done
    ip netns exec "$home" conntrack -F 2>/dev/null
    : >"$work/forgotten"
    wait $server || true
    sleep 1
    kill $client
    wait $client || true
}
record late-web.nflog late 443
record late-unlisted.nflog late 7443
# The same from a system whose clients have ports from 10000 on.
late_low() {
    ip netns exec "$home" sysctl -q -w net.ipv4.ip_local_port_range="10000 20000"
    late 7443
    ip netns exec "$home" sysctl -q -w net.ipv4.ip_local_port_range="32768 60999"
}
record late-unlisted-low.nflog late_low

# Thirty questions whose answers come when nobody waits for them any more.
late_dns() {
    ip netns exec "$home" sysctl -q -w net.netfilter.nf_conntrack_udp_timeout=1
    ip netns exec "$world" $python bed/late.py answer 53 2.5 &
    server=$!
    processes="$processes $server"
    for number in $(seq 30); do
        from_home dig +tries=1 +time=1 @198.51.100.7 "host$number.example.org" &
        questions="${questions:-} $!"
    done
    # shellcheck disable=SC2086 # process numbers
    wait $questions
    questions=
    sleep 2.5
    kill $server
    wait $server || true
    ip netns exec "$home" sysctl -q -w net.netfilter.nf_conntrack_udp_timeout=30
}
both late-dns late_dns
both late-quic hping --udp -s 443 -k -p ++40000 -d 1200 -c 40 -i u20000 $v4
both late-ntp hping --udp -s 123 -k -p ++33000 -d 48 -c 30 -i u20000 $v4
# calls COUNT   the media of calls that home has hung up: G.711, 160 octets and an RTP header every 20 ms.
calls() {
    for call in $(seq "$1"); do
        hping --udp -k -s $((16384 + 2 * call)) -p $((10000 + 2 * call)) -d 172 -c 5 -i u20000 $v4
    done
}
both late-calls calls 6
record late-calls-many.nflog calls 14
# Twenty-five calls over six days, each on a port of its own, with one peer.
calls_of_a_week() {
    for call in $(seq 25); do hping --udp -k -s 51000 -p $((40000 + 7 * call)) -d 172 -c 2 -i u20000 $v4; done
}
stretch=20000
record late-calls-week.nflog calls_of_a_week
stretch=

storm() {
    hping -R -s 443 -k -p ++40000 -c 60 -i u5000 $v4
    hping -R -A -s 443 -k -p ++1024 -c 60 -i u5000 $v4
}
both rst-storm storm

# Somebody floods far in home's name; far answers home: SYN+ACK, RST, DNS answers, unreachable ports.
backscatter() {
    within "$hop1" hping3 -q -I out0 -a $v4 -S -p 80 -c 30 -i u5000 203.0.113.7 >/dev/null 2>&1 || true
    within "$hop1" hping3 -q -I out0 -a $v4 -S -p 81 -c 30 -i u5000 203.0.113.7 >/dev/null 2>&1 || true
    within "$hop1" hping3 -q -I out0 -a $v4 --udp -p 53 -d 30 -c 30 -i u5000 203.0.113.7 >/dev/null 2>&1 || true
    within "$hop1" hping3 -q -I out0 -a $v4 --udp -p 9 -d 30 -c 30 -i u5000 203.0.113.7 >/dev/null 2>&1 || true
}
both backscatter backscatter

# Home sends more than a link on the way carries, and is told so.
path_mtu() {
    ip -n "$hop1" link set out0 mtu 1280
    head -c 40000 /dev/zero >"$work/much"
    from_home curl -s -m 2 --data-binary "@$work/much" http://203.0.113.7/
    from_home curl -s -m 2 --data-binary "@$work/much" "http://[2001:db8:7::7]/"
    from_home ping -c 5 -i 0.2 -M "do" -s 1400 203.0.113.7
    ip -n "$hop1" link set out0 mtu 1500
}
record path-mtu.ether path_mtu
