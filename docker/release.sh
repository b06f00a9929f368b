#!/bin/sh
# Makes the files of a release, of the commit that is checked out.
set -eu

usage() {
    cat <<'USAGE'
Usage: docker/release.sh [--allow-dirty] FOLDER

Writes into FOLDER, for linux/amd64 and linux/arm64: the static binary, and what it is made of in CycloneDX's
JSON; the man pages and shell completions; and SHA256SUMS of all of them. Two releases of one commit, with
one BUILDER_IMAGE, are the same bytes. --allow-dirty releases uncommitted changes, as <sha>-dirty.

It needs docker with buildx, and cargo. In the environment:
  BUILDER_IMAGE  what the binaries are built in, best by digest (rust:1.95-alpine)
USAGE
}

die() {
    echo "release: $*" >&2
    exit 1
}

allow_dirty=no
folder=
for argument; do
    case $argument in
        --allow-dirty) allow_dirty=yes ;;
        --help | -h) usage && exit 0 ;;
        -*) usage >&2 && exit 2 ;;
        *) folder=$argument ;;
    esac
done
[ -n "$folder" ] || { usage >&2 && exit 2; }
mkdir -p "$folder"
folder=$(cd "$folder" && pwd -P)
[ -z "$(ls "$folder")" ] || die "$folder is not empty: what is in it would get into SHA256SUMS"

cd "$(dirname "$0")/.."
GIT_SHA=$(git rev-parse --verify HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
if [ -n "$(git status --porcelain --untracked-files=normal)" ]; then
    [ "$allow_dirty" = yes ] || die "there are uncommitted changes: commit them, or see --help"
    GIT_SHA=$GIT_SHA-dirty
fi
export GIT_SHA SOURCE_DATE_EPOCH

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Also with the engine's own builder, which makes images for one platform at a time.
build() { # DOCKERFILE OPTION…
    file=$1
    shift
    docker buildx build ${BUILDER_IMAGE:+--build-arg BUILDER_IMAGE} --build-arg GIT_SHA \
        --build-arg SOURCE_DATE_EPOCH -f "docker/$file" "$@" .
}

# What is linked at the end has one thread: side by side it takes half the time.
build Dockerfile.guard --platform linux/arm64 --output "type=local,dest=$scratch/arm64" &
build Dockerfile.guard --platform linux/amd64 --output "type=local,dest=$scratch/amd64"
wait $!
for architecture in amd64 arm64; do
    install -m 755 "$scratch/$architecture/version-guard" "$folder/version-guard-linux-$architecture"
done
build Dockerfile.sbom --output "type=local,dest=$folder"

mkdir "$scratch/manual"
VERSION_GUARD_MANUAL=$scratch/manual cargo test --quiet --locked --bins -- --exact \
    cli::manual::man_pages_and_completions_have_each_command_and_option >&2
tar -c -C "$scratch/manual" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner . |
    gzip -n >"$folder/version-guard-manual.tar.gz"

cd "$folder"
sha256sum version-guard-* >SHA256SUMS
cat SHA256SUMS
