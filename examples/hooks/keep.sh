#!/bin/sh
# keep.sh   a hook: keeps what it is told in a file for each day, a line of JSON for each event.
# Prerequisites: the service may not write there until the drop-in hooks.conf gives it /var/log/nfban.
#   install -D -m 755 /usr/share/doc/nfban/examples/hooks/keep.sh /usr/local/sbin/nfban-keep
#   install -D -m 644 /usr/share/doc/nfban/examples/systemd/hooks.conf /etc/systemd/system/nfban.service.d/hooks.conf
#   systemctl daemon-reload && systemctl restart nfban
# Configuration, such as /etc/nfban/conf.d/keep.yaml; then `nfban reload`:
#   hooks: [{on: [incident, incident-end, ban, ban-end, alarm], command: [/usr/local/sbin/nfban-keep]}]
# The event is on standard input, its type in NFBAN_EVENT. Several of these run at once; each writes one line in one piece.
set -eu

cat >>"/var/log/nfban/$(date +%F).jsonl"
