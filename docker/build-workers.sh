#!/bin/sh
# Builds both worker images of the commit that is checked out, named by its SHA.
set -eu

usage() {
    cat <<'USAGE'
Usage: docker/build-workers.sh [--allow-dirty]

Builds fiskai-worker:<short sha> and fiskai-worker-ocr:<short sha>, tags both :latest too, prints the SHA
to deploy and keeps it in docker/.env, where compose finds it in any shell. --allow-dirty builds uncommitted changes, as <sha>-dirty, which production refuses.

In the environment:
  WORKER_IMAGE  what the images are called, without tag; the OCR one ends in -ocr (fiskai-worker)
  BASE_IMAGE    what they are built on (node:22-slim)
  WORKER_DIR    the folder with the worker's code (docker/sample-worker); in another repository it is
                named by that one's SHA
  GUARD_IMAGE   an image that has /version-guard; unset: built from docker/Dockerfile.guard
  VERSION_GUARD_ENFORCE=always, VERSION_GUARD_REQUIRE_EXPECTED=true, VERSION_GUARD_ON_DRIFT=stop
                the policy to seal
  VERSION_GUARD_FORBID_RUNNERS, VERSION_GUARD_STRICT=true, VERSION_GUARD_RUNNER_WATCH
                what must not run the code, whether no image is sealed that has it, and how long the
                worker's processes are looked at for it
  VERSION_GUARD_CODE, VERSION_GUARD_CODE_EXCEPT
                the code to seal, and what to leave out of it, separated by colons (/app, nothing)
USAGE
}

die() {
    echo "build-workers: $*" >&2
    exit 1
}

# The checkout that a folder is in.
checkout_of() { # FOLDER
    if ! LC_ALL=C git -C "$1" rev-parse --show-toplevel 2>"$complaint"; then
        if grep -q "dubious ownership" "$complaint"; then
            die "git does not trust $1, which belongs to another user: git config --global --add safe.directory '*', or build as its owner"
        fi
        die "$1 is in no git checkout: there is no SHA to name the images by"
    fi
}

allow_dirty=no
for argument; do
    case $argument in
        --allow-dirty) allow_dirty=yes ;;
        --help | -h) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
complaint=$scratch/complaint
here=$(cd "$(dirname "$0")" && pwd -P)
root=$(checkout_of "$here")
cd "$root"

# The repository of the worker's code, whose commit the images are: this one, or another.
code=$root
if [ -n "${WORKER_DIR:-}" ]; then
    folder=$(cd "$WORKER_DIR" 2>/dev/null && pwd -P) || die "WORKER_DIR is $WORKER_DIR: there is no such folder"
    code=$(checkout_of "$folder")
    WORKER_DIR=${folder#"$code"}
    WORKER_DIR=.${WORKER_DIR%/}
fi

GIT_SHA=$(git -C "$code" rev-parse --verify HEAD) || die "$code has no commit yet: there is no SHA to name the images by"
short=$(git -C "$code" rev-parse --short=7 HEAD)
if [ -n "$(git -C "$code" status --porcelain --untracked-files=normal)" ]; then
    if [ "$allow_dirty" = no ]; then
        git -C "$code" status --short >&2
        die "$code has uncommitted changes: commit them, put what is no code into .gitignore, or see --help"
    fi
    GIT_SHA=$GIT_SHA-dirty
    short=$short-dirty
fi
BUILD_DATE=$(date -u +%Y-%m-%dT%H:%M:%SZ)
export GIT_SHA BUILD_DATE

# A builder in a container of its own sees no image of the engine's, and keeps what it builds.
load=
if [ -n "${BUILDX_BUILDER:-}" ] && ! docker buildx inspect | grep -q '^Driver: *docker$'; then
    [ -n "${GUARD_IMAGE:-}" ] ||
        die "the builder $BUILDX_BUILDER sees no local image such as the guard's: unset BUILDX_BUILDER, or push the guard image and set GUARD_IMAGE to where it is"
    load=--load
fi

image=${WORKER_IMAGE:-fiskai-worker}
if [ -z "${GUARD_IMAGE:-}" ]; then
    docker build -f docker/Dockerfile.guard -t version-guard .
    GUARD_IMAGE=version-guard
fi
export GUARD_IMAGE

# docker takes a value that is not given from the environment.
set -- --build-arg GIT_SHA --build-arg BUILD_DATE --build-arg GUARD_IMAGE
for name in BASE_IMAGE WORKER_DIR VERSION_GUARD_ENFORCE VERSION_GUARD_REQUIRE_EXPECTED \
    VERSION_GUARD_ON_DRIFT VERSION_GUARD_FORBID_RUNNERS VERSION_GUARD_STRICT \
    VERSION_GUARD_RUNNER_WATCH VERSION_GUARD_CODE VERSION_GUARD_CODE_EXCEPT; do
    eval "value=\${$name:-}"
    [ -z "$value" ] || set -- "$@" --build-arg "$name=$value"
done
# Of another repository only what git knows goes into the image: what it ignores, such as an .env or an
# old build, is in no commit.
if [ "$code" != "$root" ]; then
    mkdir "$scratch/context"
    git -C "$code" ls-files -z --cached --others --exclude-standard |
        tar -C "$code" --null -T - -c | tar -C "$scratch/context" -x
    code=$scratch/context
fi
cd "$code"
build() { # OPTION…
    docker build ${load:+"$load"} -f "$root/Dockerfile.worker" "$@" .
}
build "$@" --build-arg WITH_OCR=false -t "$image:$short" -t "$image:latest"
build "$@" --build-arg WITH_OCR=true -t "$image-ocr:$short" -t "$image-ocr:latest"

# Compose reads it beside its file: in a shell that has none of it exported, logs and down work as well.
keep=$root/docker/.env
{
    grep -Ev '^(GIT_SHA_SHORT|EXPECTED_GIT_SHA|WORKER_IMAGE)=' "$keep" 2>/dev/null || true
    echo "GIT_SHA_SHORT=$short"
    echo "EXPECTED_GIT_SHA=$GIT_SHA"
    [ "$image" = fiskai-worker ] || echo "WORKER_IMAGE=$image"
} >"$scratch/.env"
cp "$scratch/.env" "$keep" || echo "build-workers: $keep can't be written: export what it would hold" >&2

cat <<SUMMARY

Built $image:$short and $image-ocr:$short
GIT_SHA: $GIT_SHA

Kept in docker/.env, for any shell:
  GIT_SHA_SHORT=$short EXPECTED_GIT_SHA=$GIT_SHA

To deploy them, and to see how they start:
  docker compose -f docker/docker-compose.workers.yml up -d
  docker compose -f docker/docker-compose.workers.yml logs -f --tail=50
SUMMARY
