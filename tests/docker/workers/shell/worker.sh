#!/bin/sh
trap 'echo stopped; kill "$!"; exit 6' TERM
echo ready
while :; do
    sleep 3600 &
    wait "$!"
done
