#!/bin/sh
# Builds the guard image, takes the binary out of it, and prints where it is:
#   VERSION_GUARD_BIN=$(tests/docker/guard-binary.sh) cargo test
set -eu

cd "$(dirname "$0")/../.."
DOCKER_CONFIG=${VERSION_GUARD_TESTS_CACHE:-/var/cache/version-guard-tests}/docker
export DOCKER_CONFIG DOCKER_BUILDKIT=1

binary=$PWD/target/guard-image/version-guard
mkdir -p "${binary%/*}"
docker build -q -f docker/Dockerfile.guard -t version-guard . >&2
container=$(docker create version-guard)
docker cp "$container:/version-guard" "$binary" >&2
docker rm "$container" >&2
echo "$binary"
