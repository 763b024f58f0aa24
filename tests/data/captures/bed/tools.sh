# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # sourced by `make`; addresses and ports have no spaces
# How the scanners are called, sourced by `make`. All of them run in far.

probe() { from_far nmap -n -Pn --max-retries 0 --host-timeout 40s "$@"; }

mass() {
    from_far masscan --adapter up0 --adapter-ip 203.0.113.7 --router-mac "$gateway_mac" --rate 200 --wait 1 "$@"
}
mass6() {
    from_far masscan --adapter up0 --adapter-ip 2001:db8:7::7 --router-mac "$gateway_mac" --router-mac-ipv6 "$gateway_mac" \
        --rate 200 --wait 1 "$@"
}

# zmap_sweep PREFIX OPTIONS...   every address of the prefix, whether home has it or not
zmap_sweep() {
    echo "$1" >"$work/allow"
    : >"$work/deny"
    shift
    from_far zmap --interface=up0 --source-ip=203.0.113.7 --gateway-mac="$gateway_mac" --rate=100 --cooldown-time=1 \
        --whitelist-file="$work/allow" --blacklist-file="$work/deny" --output-file=/dev/null "$@"
}

# hping3 takes its source from an interface of its own choice.
hping() { from_far hping3 -q -I up0 -a 203.0.113.7 "$@"; }
