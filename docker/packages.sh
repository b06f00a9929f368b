#!/usr/bin/env bash
# Sees to it that programs are there: docker/packages.sh PROGRAM=PACKAGE[,PACKAGE…]…
#
# On Debian and Ubuntu, as root, it installs what is missing. Elsewhere it says what that is and how
# to get it, and ends with 1.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

missing=()
packages=()
for pair in "$@"; do
    if ! command -v "${pair%%=*}" >/dev/null; then
        missing+=("${pair%%=*}")
        IFS=, read -ra of_program <<<"${pair#*=}"
        packages+=("${of_program[@]}")
    fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "Missing: ${missing[*]}"
    echo "On Debian or Ubuntu: sudo apt-get install ${packages[*]}"
    echo "Elsewhere, the system's own package manager has packages of similar names."
    exit 1
fi

echo "Installing ${packages[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
    # A source that can't be reached may well be one that is not needed.
    apt-get update || true
    apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=120 "${packages[@]}"
}
export DEBIAN_FRONTEND=noninteractive
if ! install >"$log" 2>&1 </dev/null; then
    cat "$log"
    echo "apt-get could not install ${packages[*]}: see above."
    exit 1
fi

# Debian starts a server with its package. Only the program was asked for.
for server in redis-server prometheus; do
    if [[ " ${packages[*]} " == *" $server "* ]]; then
        service "$server" stop >/dev/null 2>&1 || true
        update-rc.d "$server" disable >/dev/null 2>&1 || true
    fi
done
