# Fragments. What is wrong with them is told before defragmentation, which `nflog` captures show only where the firewall
# logs them there; where the example does not, a table beside it does.
edit=
if ! grep -q 'nfban:fragment' "$rules"; then
    edit='$a table inet fragments { chain prerouting { type filter hook prerouting priority -445; ip frag-off & 0x3fff != 0 log prefix "nfban:fragment" group 102 snaplen 128 queue-threshold 1 return; frag frag-off != 0 log prefix "nfban:fragment" group 102 snaplen 128 queue-threshold 1 return; frag more-fragments 1 log prefix "nfban:fragment" group 102 snaplen 128 queue-threshold 1 return; }; }'
fi
forge() { from_far $python bed/fragments.py "$@"; }
both fragments-teardrop forge teardrop $v4
both fragments-teardrop-ipv6 forge teardrop $v6
both fragments-overlap forge overlap $v4
both fragments-overlap-ipv6 forge overlap $v6
both fragments-options-ipv6 forge options $v6
both fragments-ping-of-death forge ping-of-death $v4
both fragments-ping-of-death-ipv6 forge ping-of-death $v6
both fragments-jolt2 forge jolt2 $v4
both fragments-duplicate forge duplicate $v4
both fragments-duplicate-ipv6 forge duplicate $v6
both fragments-tiny forge tiny $v4
both fragments-tiny-ipv6 forge tiny $v6

# Honest: pings as long as they may be; datagrams that a router cut once more; parts in disorder.
ping_long() {
    from_far ping -q -c 5 -i 0.1 -s 3000 $v4
    from_far ping -q -c 1 -s 65507 $v4
    from_far ping -6 -q -c 5 -i 0.1 -s 3000 $v6
    from_far ping -6 -q -c 1 -s 65527 $v6
}
# The last link takes 616 octets: the router there cuts fragments once more.
cut_again() {
    ip -n "$world" route add 198.51.100.5/32 dev up0 mtu lock 616
    from_far ping -q -c 5 -i 0.1 -M dont -s 3000 $v4
    ip -n "$world" route del 198.51.100.5/32 dev up0
}
both fragments-ping ping_long
both fragments-cut-again cut_again
both fragments-disorder forge disorder $v4
both fragments-disorder-ipv6 forge disorder $v6
# 16 octets in the first fragment: a strange way to open a port, and nothing hidden.
record fragments-hping3.ether from_world hping3 -q -S -f -p 81 -c 10 -i u20000 $v4
edit=
