#!/bin/sh
# Makes what the image tests need: a running engine, the plugins for BuildKit and compose, and the
# base images that the Dockerfiles name. What is there already stays as it is. An image that can't
# be pulled gets a stand-in of Debian packages and npm packages, labelled as such.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${VERSION_GUARD_TESTS_CACHE:-/var/cache/version-guard-tests}
mirror=http://deb.debian.org/debian
mkdir -p "$cache"

# One at a time: two test runs must not build the same image side by side.
exec 9>"$cache/lock"
flock 9

say() {
    echo "prepare: $*" >&2
}

engine() {
    if docker info >/dev/null 2>&1; then
        return
    fi
    say "starting dockerd; it goes on running when the tests are over"
    setsid dockerd >"$cache/dockerd.log" 2>&1 9>&- </dev/null &
    for _ in $(seq 150); do
        if docker info >/dev/null 2>&1; then
            return
        fi
        sleep 0.2
    done
    tail "$cache/dockerd.log" >&2
    say "dockerd does not start"
    exit 1
}

# Into a folder of the tests' own, which DOCKER_CONFIG names: the machine's docker stays as it is.
plugins() {
    folder=$cache/docker/cli-plugins
    if [ -x "$folder/docker-buildx" ] && [ -x "$folder/docker-compose" ]; then
        return
    fi
    say "fetching the plugins of Debian 13"
    apt=$cache/apt
    mkdir -p "$folder" "$apt/lists/partial" "$apt/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$apt/sources.list"
    cat >"$apt/apt.conf" <<-CONF
		Dir::Etc::SourceList "$apt/sources.list";
		Dir::Etc::SourceParts "/dev/null";
		Dir::State::Lists "$apt/lists";
		Dir::Cache "$apt";
		APT::Sandbox::User "root";
	CONF
    (
        cd "$apt"
        export APT_CONFIG="$apt/apt.conf"
        apt-get -q update
        apt-get -q download docker-buildx docker-compose
        for package in docker-buildx docker-compose; do
            dpkg-deb --fsys-tarfile "$package"_*.deb |
                tar -x -C "$folder" --wildcards --transform 's:.*/::' "*/cli-plugins/$package"
        done
    ) >&2
    rm -r "$apt"
}

# The stand-in's version: $1 is the Dockerfile's name, none for a bare Debian. To be counted up by hand
# when what is done below changes.
version() {
    dockerfile=$here/stand-ins/$1.Dockerfile
    [ -e "$dockerfile" ] || dockerfile=/dev/null
    echo "1-$(sha256sum <"$dockerfile" | cut -c1-12)"
}

# Whether the image $1 has to be made: it is missing and can't be pulled, or it is a stand-in of
# another version than $2.
wanted() {
    label=$(docker image inspect -f '{{index .Config.Labels "version-guard.stand-in"}}' "$1" 2>/dev/null) || {
        if docker pull -q "$1" >/dev/null 2>&1; then
            return 1
        fi
        say "making a stand-in for $1"
        return 0
    }
    if [ -z "$label" ] || [ "$label" = "$2" ]; then
        return 1
    fi
    say "making the stand-in for $1 again"
}

# A minimal Debian, with this machine's certificate authorities: behind a proxy of their own, they
# are what the registries are reached with.
debian() {
    wanted "$2" "$(version none)" || return 0
    root=$(mktemp -d "$cache/root.XXXXXX")
    debootstrap --variant=minbase --include=ca-certificates "$1" "$root" "$mirror" >"$cache/debootstrap.log" 2>&1 || {
        tail "$cache/debootstrap.log" >&2
        exit 1
    }
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb \
        "$root"/usr/share/doc/* "$root"/usr/share/locale/* "$root"/usr/share/man/*
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/stand-in"
    # A mirror may be a snapshot.
    echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/stand-in"
    tar -C "$root" -c . | docker import --change 'CMD ["bash"]' \
        --change "LABEL version-guard.stand-in=$(version none)" - "$2" >/dev/null
    rm -r "$root"
}

stand_in() {
    wanted "$1" "$(version "$2")" || return 0
    DOCKER_BUILDKIT=0 docker build -q --label "version-guard.stand-in=$(version "$2")" -t "$1" \
        -f "$here/stand-ins/$2.Dockerfile" "$3" >"$cache/build.log" 2>&1 || {
        tail -n 40 "$cache/build.log" >&2
        exit 1
    }
}

node() {
    wanted node:22-slim "$(version node)" || return 0
    packages=$(mktemp -d "$cache/node.XXXXXX")
    (cd "$packages" && npm pack --silent "node-linux-$node_arch@22.23.3" npm@10.9.9 >/dev/null)
    stand_in node:22-slim node "$packages"
    rm -r "$packages"
}

# What the deployments of the tests take jobs with; into a folder of the tests' own.
bullmq() {
    version=bullmq@5.81.5
    folder=$cache/bullmq
    if [ "$(cat "$folder/version" 2>/dev/null)" != "$version" ]; then
        rm -rf "$folder"
        mkdir -p "$folder"
        npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" "$version" >&2
        echo "$version" >"$folder/version"
    fi
}

case $(uname -m) in
    x86_64) node_arch=x64 ;;
    aarch64) node_arch=arm64 ;;
    *) say "no stand-in images for $(uname -m)" && exit 1 ;;
esac
engine
plugins
bullmq
debian bookworm debian:bookworm-slim
debian trixie debian:trixie-slim
node
stand_in python:3.13-slim python "$here/stand-ins"
stand_in redis:7 redis "$here/stand-ins"
stand_in golang:1 golang "$here/stand-ins"
if wanted rust:1.95-alpine "$(version rust-alpine)"; then
    debian sid debian:sid-slim
    stand_in rust:1.95-alpine rust-alpine "$here/stand-ins"
fi
