# shellcheck shell=bash
# checks.sh   sourced by what checks the package in a booted Debian: boots one with target/debian/nfban_*.deb in its /share, and
# takes it down at the end. The caller is at the top of the source, has set `packages`, which the machine has besides, and may set
# `files`, which go into its /share.
# As root. One line for each check; a failed one shows what its command printed.
set -euo pipefail

[ "$(id -u)" = 0 ] || {
    echo "this test boots a machine: run it as root" >&2
    exit 1
}
suite=${1:-bookworm}
name=nfban-$suite-$$
share=$(mktemp --directory)
machine=tests/package/machine
trap '$machine down "$name"; rm -r "$share"' EXIT
cp target/debian/nfban_*.deb "$share/nfban.deb"
[ -z "${files:-}" ] || cp --recursive "${files[@]}" "$share"
$machine up "$name" "$suite" "$share" "${packages[@]}"

failed=0
check() { # WHAT SHELL-COMMAND: run in the machine
    if output=$($machine run "$name" sh -euc "$2" 2>&1); then
        echo "ok    $1"
    else
        printf 'FAIL  %s\n%s\n%s\n' "$1" "$2" "$(tail -n 20 <<<"$output")"
        failed=1
    fi
}

scan() { # PORT PORT: from the peer, a datagram to each port of this range
    local port
    for port in $(seq "$1" "$2"); do
        $machine peer "$name" bash -c "echo >/dev/udp/192.0.2.1/$port"
    done
}
