#!/bin/sh
# A worker that takes jobs from jobs:$WORKER_TYPE and puts results into results:$WORKER_TYPE.
# A job is a name and the seconds it takes.
set -eu

stopping=
trap 'stopping=yes' TERM

while [ -z "$stopping" ]; do
    # The shell acts on a signal only between two commands, so each BLPOP ends by itself after a
    # second. It prints the list's name and, on a line of its own, the job.
    taken=$(redis-cli -u "$REDIS_URL" BLPOP "jobs:$WORKER_TYPE" 1)
    if [ -n "$taken" ]; then
        job=$(printf '%s\n' "$taken" | tail -n 1)
        sleep "${job#* }"
        redis-cli -u "$REDIS_URL" RPUSH "results:$WORKER_TYPE" "${job% *} done by ${GIT_SHA:-nobody}" >/dev/null
    fi
done
