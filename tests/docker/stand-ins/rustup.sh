#!/bin/sh
# rustup target add ARCHITECTURE-unknown-linux-musl, with what Debian has for that architecture. What
# rustup would put beside the standard library goes to the same place; the library itself cargo builds.
set -eu

target=$3
architecture=${target%%-*}
case $architecture in
    aarch64) debian=arm64 ;;
    x86_64) debian=amd64 ;;
    *) echo "rustup: no stand-in for $target" >&2 && exit 1 ;;
esac

packages=$(mktemp -d)
cd "$packages"
dpkg --add-architecture "$debian"
apt-get update
apt-get download "musl-dev:$debian" "libgcc-$(gcc -dumpversion)-dev:$debian"
for package in *.deb; do
    dpkg-deb -x "$package" .
done

into=$(rustc --print sysroot)/lib/rustlib/$target/lib/self-contained
mkdir -p "$into"
(cd "usr/lib/$architecture-linux-musl" && cp crt1.o crti.o crtn.o libc.a "$into")
(cd "usr/lib/gcc/$architecture-linux-gnu"/* && cp crtbegin.o crtend.o "$into" && cp libgcc_eh.a "$into/libunwind.a")
clang --target="$target" -nostdlibinc -isystem "usr/include/$architecture-linux-musl" -O2 \
    -c /usr/local/lib/unwind/find-object.c
ar r "$into/libunwind.a" find-object.o
rm -r "$packages" /var/lib/apt/lists/*
