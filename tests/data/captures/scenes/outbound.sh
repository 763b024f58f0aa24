# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # sourced by `make`; addresses and ports have no spaces
# What home sends. Where the example does not log it, a table beside it does, as the example is to do.
edit=
if ! grep -q 'nfban:outbound' "$rules"; then
    # shellcheck disable=SC2016 # sed's own $: after the last line
    edit='$a table inet outbound { chain output { type filter hook output priority 0; oif != "lo" ct state new log prefix "nfban:outbound" group 103 snaplen 128; }; }'
fi
outwards() { from_home nmap -n -Pn --max-retries 0 --host-timeout 30s "$@"; }
record outbound-ports.nflog outwards -sS -p 1-30 203.0.113.7
record outbound-ports-ipv6.nflog outwards -6 -sS -p 1-30 2001:db8:7::7
record outbound-sweep.nflog outwards -sT -p 23 203.0.113.20-119
record outbound-udp.nflog outwards -sU -p 1-40 203.0.113.7

# Honest: a resolver asks sixty name servers, a browser opens forty sites, a mail server delivers to thirty.
resolve() {
    for number in $(seq 10 69); do from_home dig +tries=1 +time=1 +noedns @"203.0.113.$number" "host$number.example.org"; done
}
visit() {
    for number in $(seq 10 49); do from_home curl -s -m 2 "http://203.0.113.$number:443/"; done
}
deliver() { for number in $(seq 10 39); do from_home curl -s -m 1 "smtp://203.0.113.$number:25"; done; }
record outbound-resolver.nflog resolve
record outbound-browser.nflog visit
record outbound-mail.nflog deliver
edit=
