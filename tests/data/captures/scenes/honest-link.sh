# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # sourced by `make`; addresses and ports have no spaces
# What neighbours say to everybody. Home is a member of the groups that they speak to.
with_groups() {
    ip netns exec "$home" $python bed/neighbour.py join "$work/joined" &
    joined=$!
    processes="$processes $joined"
    until [ -e "$work/joined" ]; do sleep 0.1; done
    "$@"
    kill $joined
    wait $joined || true
    rm "$work/joined"
}

both dhcp from_world udhcpc -i up0 -n -q -f -t 4 -T 1 -s /bin/true
# avahi-daemon wants its files in /run.
avahi() {
    printf '[server]\nhost-name=neighbour\nallow-interfaces=up0\nenable-dbus=no\n[publish]\npublish-workstation=yes\n' >"$work/avahi.conf"
    within "$world" timeout 8 unshare -m sh -c "mount -t tmpfs none /run && mkdir /run/avahi-daemon &&
        exec avahi-daemon -f '$work/avahi.conf' --no-drop-root --no-chroot --no-rlimits" >/dev/null 2>&1 || true
}
both mdns with_groups avahi
both ssdp with_groups from_world $python bed/neighbour.py ssdp
both netbios from_world $python bed/neighbour.py netbios
both igmp-query with_groups from_world $python bed/neighbour.py igmp
# Router advertisements, listener queries, duplicate address detection and neighbour solicitations.
neighbours6() {
    ip netns exec "$home" sysctl -q -w net.ipv6.conf.up0.accept_ra=0
    printf 'interface up0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix 2001:db8:1::/64 {}; };\n' >"$work/radvd.conf"
    chmod 755 "$work"
    within "$world" timeout 10 radvd -n -u root -C "$work/radvd.conf" -p "$work/radvd.pid" >/dev/null 2>&1 &
    radvd=$!
    for number in 1 2 3 4 5 6 7 8; do
        ip -n "$world" address add "2001:db8:1::a$number/64" dev up0
        ip -n "$world" neighbour flush all
        from_world ping -6 -c 2 -i 0.2 -I "2001:db8:1::7" $v6
        from_world $python bed/neighbour.py mld
    done
    wait $radvd || true
    for number in 1 2 3 4 5 6 7 8; do ip -n "$world" address del "2001:db8:1::a$number/64" dev up0; done
}
record neighbours-ipv6.ether with_groups neighbours6
