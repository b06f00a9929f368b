#!/bin/sh
# apk add --no-cache PACKAGE…, with Debian's packages of these names.
set -eu

shift 2
apt-get update
apt-get install -y --no-install-recommends "$@"
rm -rf /var/lib/apt/lists/*
