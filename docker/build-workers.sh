#!/bin/sh
# Builds both worker images of the commit that is checked out, named by its SHA.
set -eu

usage() {
    cat <<'USAGE'
Usage: docker/build-workers.sh [--allow-dirty]

Builds fiskai-worker:<short sha> and fiskai-worker-ocr:<short sha>, tags both :latest too, and prints
the SHA to deploy. --allow-dirty builds uncommitted changes, as <sha>-dirty, which production refuses.

In the environment:
  WORKER_IMAGE  what the images are called, without tag; the OCR one ends in -ocr (fiskai-worker)
  BASE_IMAGE    what they are built on (node:22-slim)
  WORKER_DIR    the folder with the worker's code (docker/sample-worker)
  GUARD_IMAGE   an image that has /version-guard; unset: built from docker/Dockerfile.guard
  VERSION_GUARD_ENFORCE=always, VERSION_GUARD_REQUIRE_EXPECTED=true  the policy to seal
USAGE
}

die() {
    echo "build-workers: $*" >&2
    exit 1
}

allow_dirty=no
for argument; do
    case $argument in
        --allow-dirty) allow_dirty=yes ;;
        --help | -h) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
done

here=$(cd "$(dirname "$0")" && pwd)
root=$(git -C "$here" rev-parse --show-toplevel) ||
    die "$here is in no git checkout: there is no SHA to name the images by"
cd "$root"

GIT_SHA=$(git rev-parse --verify HEAD) || die "$root has no commit yet: there is no SHA to name the images by"
short=$(git rev-parse --short=7 HEAD)
if [ -n "$(git status --porcelain)" ]; then
    [ "$allow_dirty" = yes ] || die "$root has uncommitted changes (git status): commit them, or see --help"
    GIT_SHA=$GIT_SHA-dirty
    short=$short-dirty
fi
BUILD_DATE=$(date -u +%Y-%m-%dT%H:%M:%SZ)
export GIT_SHA BUILD_DATE

image=${WORKER_IMAGE:-fiskai-worker}
if [ -z "${GUARD_IMAGE:-}" ]; then
    docker build -f docker/Dockerfile.guard -t version-guard .
    GUARD_IMAGE=version-guard
fi
export GUARD_IMAGE

# docker takes a value that is not given from the environment.
set -- --build-arg GIT_SHA --build-arg BUILD_DATE --build-arg GUARD_IMAGE
for name in BASE_IMAGE WORKER_DIR VERSION_GUARD_ENFORCE VERSION_GUARD_REQUIRE_EXPECTED; do
    eval "value=\${$name:-}"
    [ -z "$value" ] || set -- "$@" --build-arg "$name=$value"
done
docker build -f Dockerfile.worker "$@" --build-arg WITH_OCR=false -t "$image:$short" -t "$image:latest" .
docker build -f Dockerfile.worker "$@" --build-arg WITH_OCR=true -t "$image-ocr:$short" -t "$image-ocr:latest" .

cat <<SUMMARY

Built $image:$short and $image-ocr:$short
GIT_SHA: $GIT_SHA

To deploy them:
  export GIT_SHA_SHORT=$short EXPECTED_GIT_SHA=$GIT_SHA
  docker compose -f docker/docker-compose.workers.yml up -d --force-recreate
SUMMARY
