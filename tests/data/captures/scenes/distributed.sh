# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # sourced by `make`; addresses and ports have no spaces
# One scan from many addresses.

# Fifty of one /24, two ports each.
from_24() {
    for number in $(seq 1 50); do
        from_far nmap -n -Pn -e up0 -S "203.0.113.$number" -sS --max-retries 0 --host-timeout 50ms -p "$number,$((number + 7999))" $v4
    done
}
# Fifty of one /64; and of fifty /64 of one /48, of which each is a source by itself.
from_64() {
    for number in $(seq 1 50); do
        from_far nmap -6 -n -Pn -e up0 -S "2001:db8:7::$number" -sS --max-retries 0 --host-timeout 50ms -p "$number,$((number + 7999))" $v6
    done
}
from_48() {
    for number in $(seq 1 50); do
        from_far nmap -6 -n -Pn -e up0 -S "2001:db8:7:$number::1" -sS --max-retries 0 --host-timeout 50ms -p "$number,$((number + 7999))" $v6
    done
}
record distributed-24.nflog from_24
record distributed-24.ether from_24
record distributed-64.nflog from_64
record distributed-48.nflog from_48
# A new address of one /64 for each of 300 SYNs, to one port.
record rotating-64.nflog from_far $python bed/peers.py connect $v6 8080 2001:db8:7::1000 300 1
