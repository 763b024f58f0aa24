#!/bin/bash
# checks.sh   sourced, at the top of the source, by what checks the package in a booted Debian. One line for each check; a failed
# one shows what its command printed.
set -euo pipefail

[ "$(id -u)" = 0 ] || {
    echo "this test boots a machine: run it as root" >&2
    exit 1
}
suite=${1:-bookworm}
name=nfban-$suite-$$
# What lies here the machine has in /share.
share=$(mktemp --directory)
machine=tests/package/machine
trap '$machine down "$name"; rm -r "$share"' EXIT
cp target/debian/nfban_*.deb "$share/nfban.deb"

boot() { # PACKAGE...: those that the machine has besides
    $machine up "$name" "$suite" "$share" "$@"
}

failed=0
check() { # WHAT SHELL-COMMAND: run in the machine
    if output=$($machine run "$name" sh -euc "$2" 2>&1 </dev/null); then
        echo "ok    $1"
    else
        printf 'FAIL  %s\n%s\n%s\n' "$1" "$2" "$(tail -n 20 <<<"$output")"
        failed=1
    fi
}

scan() { # PORT PORT: from the peer, a datagram to each port of this range
    # shellcheck disable=SC2016 # expanded by the peer
    $machine peer "$name" bash -c 'for ((port = $0; port <= $1; port++)); do echo >/dev/udp/192.0.2.1/$port; done' "$1" "$2"
}

finish() { # the status of all checks; where one failed, behind what the daemon had to say
    [ $failed = 0 ] || $machine run "$name" journalctl --output=cat --unit='nfban*' | tail -n 100 || :
    exit $failed
}
