#!/bin/sh
# Stands in for the real worker: one job after the other, and at SIGTERM the one in hand is finished.
set -eu

stopping=no
trap 'stopping=yes' TERM
job=0
while [ "$stopping" = no ]; do
    job=$((job + 1))
    echo "job $job taken"
    sleep 2
    echo "job $job done"
done
