# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # sourced by `make`; addresses and ports have no spaces
# The recorder, sourced by `make`.
#
# The end of a capture's name says where it was taken, all of them in home:
#     *.ether      its interface, no firewall: closed ports answer with a RST
#     *.sll        all interfaces (`any`) in the first cooked format; *.sll2 in the second
#     *.nflog      what examples/nftables/server.nft logs: groups 100 (refused and invalid), 101 (accepted), 102 (fragments),
#                  103 (outbound)
#     *.accepted   group 101 alone

# chosen NAME   whether this capture is to be made
chosen() {
    case $wanted in
        "  " | *" $1 "* | *" $scene_name "*) return 0 ;;
        *) return 1 ;;
    esac
}

# The rules for NFLOG captures; $edit is a sed command for what a scene wants changed. A message for each packet
# (queue-threshold 1, which nfban chooses while it is quiet) gives each the time of its own.
firewall() {
    sed -e "${edit:-}" -e 's/snaplen 128/snaplen 128 queue-threshold 1/' "$rules" | ip netns exec "$home" nft -f -
}

# record NAME.KIND COMMAND...   captures what COMMAND makes arrive.
# Variables: edit (above); stretch, a number by which the times between packets are multiplied afterwards.
record() {
    name=$1
    shift
    chosen "$name" || return 0
    ip netns exec "$home" nft flush ruleset
    case $name in
        *.ether) source="-s 128 -i up0" ;;
        *.sll) source="-s 128 -i any -y LINUX_SLL" ;;
        *.sll2) source="-s 128 -i any -y LINUX_SLL2" ;;
        # Here the rules cut the packets; libpcap would cut the kernel's messages and read on.
        *.nflog) source="-i nflog:100,101,102,103" ;;
        *.accepted) source="-i nflog:101" ;;
    esac
    case $name in *.nflog | *.accepted) firewall ;; esac
    # Each capture begins with nobody knowing anybody on the link, and no connection waiting for its end.
    for namespace in "$home" "$world" "$far"; do ip netns exec "$namespace" ss -K -t >/dev/null 2>&1 || true; done
    ip -n "$home" neighbour flush all
    ip -n "$world" neighbour flush all
    ip netns exec "$home" conntrack -F 2>/dev/null || true
    # shellcheck disable=SC2086 # words of options
    ip netns exec "$home" tcpdump -B 8192 --immediate-mode -U -Z root $source -w "$work/pcap" 2>"$work/said" &
    sniffer=$!
    processes="$processes $sniffer"
    while ! grep -qs listening "$work/said"; do sleep 0.1; done
    "$@" || echo "$name: the command ended with status $?" >&2
    sleep 0.5
    kill -INT $sniffer
    wait $sniffer || true
    [ -z "${stretch:-}" ] || $python bed/stretch.py "$stretch" "$work/pcap"
    rm -f "$name.pcap" "$name.pcap.xz"
    if [ "$(wc -c <"$work/pcap")" -gt 8192 ]; then
        xz -9e -c "$work/pcap" >"$name.pcap.xz"
    else
        cp "$work/pcap" "$name.pcap"
    fi
    echo "$name: $(tcpdump -r "$work/pcap" 2>/dev/null | wc -l) packets"
}

# both NAME COMMAND...   the same without a firewall and behind it
both() {
    stem=$1
    shift
    record "$stem.ether" "$@"
    record "$stem.nflog" "$@"
}
