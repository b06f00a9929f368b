#!/usr/bin/env bash
# Builds version-guard and shows on real workers and a real Redis what it does: three workers that
# run, three that are refused, and an orderly stop. Ends with 0 only if all of it came out as said.
set -euo pipefail
exec </dev/null
cd "$(dirname "${BASH_SOURCE[0]}")/.."

current=a1b2c3d4e5f60718293a4b5c6d7e8f9012345678
stale=0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f
build_date=2026-01-08T12:00:00Z

scratch=$(mktemp -d)
redis=
explained=
declare -A shims=()

main() {
    echo "version-guard: three workers that run, three that are refused"
    build
    start_redis
    start_workers
    work
    look_into_redis
    refuse
    let_the_refused_run
    stop_workers
    finish
}

build() {
    step 1 "Build the shim"
    command -v cargo >/dev/null || fail "There is no cargo: install Rust from https://rustup.rs"
    docker/packages.sh redis-server=redis-server redis-cli=redis-tools cc=gcc,libc6-dev \
        || fail "The demo needs what is missing above."
    # Cargo itself says where the binary is: settings in many places have a say in that.
    shim=$(cargo build --release --locked --message-format=json-render-diagnostics \
        | sed -n 's/.*"executable":"\([^"]*\/version-guard\)".*/\1/p') \
        || fail "Cargo can't build the shim: see above."
    [ -x "$shim" ] || fail "Cargo built no binary."
    say "$shim"
    # A seal would win over the images' GIT_SHA that the steps below play with.
    [ ! -e /etc/version-guard/image.json ] \
        || fail "This machine is itself a sealed image: run the demo outside of it."
}

start_redis() {
    step 2 "Start a Redis of the demo's own"
    local attempt
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        port=$((20000 + RANDOM % 12000))
        redis-server --port "$port" --bind 127.0.0.1 --dir "$scratch" --save '' --appendonly no \
            >"$scratch/redis.log" 2>&1 &
        redis=$!
        eventually "An answer of redis-server, attempt $attempt" redis_answers_or_ended
        if running "$redis"; then
            say "127.0.0.1:$port, keeps nothing on disk"
            return
        fi
    done
    fail "redis-server does not start: $(tail -n 1 "$scratch/redis.log")"
}

start_workers() {
    step 3 "Start workers in production, behind the shim; the deployment expects $current"
    workers=()
    start_worker node node docker/demo/worker.js
    start_worker python python3 docker/demo/worker.py
    start_worker shell sh docker/demo/worker.sh
    local worker
    for worker in "${workers[@]}"; do
        eventually "Registration of the $worker worker" registered "$worker"
        grep -F "$current" "$scratch/$worker.log" | grep -F environment | grep -F "$build_date" >/dev/null \
            || fail "The $worker shim did not say which image it is."
    done
    say "What the last one says:"
    indented "$scratch/shell.log"
}

start_worker() { # TYPE PROGRAM ARGUMENT…
    local worker=$1
    shift
    if ! command -v "$1" >/dev/null; then
        say "skipped: the $worker worker (there is no $1)"
        return
    fi
    start "$worker" NODE_ENV=production GIT_SHA=$current EXPECTED_GIT_SHA=$current -- "$@"
    workers+=("$worker")
    say "$worker: version-guard run -- $*"
}

work() {
    step 4 "Give each worker three jobs; the results carry the SHA that did them"
    local worker
    for worker in "${workers[@]}"; do
        redis RPUSH "jobs:$worker" "invoice-1 0" "invoice-2 0" "invoice-3 0" >/dev/null
    done
    for worker in "${workers[@]}"; do
        eventually "Three results of the $worker worker" length_is "results:$worker" 3
        same "$(redis LRANGE "results:$worker" 0 -1)" "$(done_jobs 1 2 3)" "results of the $worker worker"
    done
    say "$ redis-cli LRANGE results:shell 0 -1"
    redis --no-raw LRANGE results:shell 0 -1 | indented
}

look_into_redis() {
    step 5 "Ask Redis who runs"
    local worker key ttl started_at
    for worker in "${workers[@]}"; do
        key=fiskai:worker:$worker:version
        say "$ redis-cli HGETALL $key | paste - -"
        redis HGETALL "$key" | paste - - | indented
        same "$(redis HLEN "$key")" 4 "number of fields of $key"
        same "$(redis HGET "$key" gitSha)" "$current" "gitSha in $key"
        same "$(redis HGET "$key" buildDate)" "$build_date" "buildDate in $key"
        same "$(redis HGET "$key" pid)" "${shims[$worker]}" "pid in $key"
        started_at=$(redis HGET "$key" startedAt)
        [[ $started_at =~ ^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$ ]] \
            || fail "startedAt in $key is '$started_at', which is no timestamp."
        say "$ redis-cli TTL $key"
        ttl=$(redis TTL "$key")
        indented <<<"$ttl"
        ((ttl >= 86000 && ttl <= 86400)) || fail "$key expires in $ttl s instead of a day."
    done
}

refuse() {
    step 6 "Try to start three that must not run, each with a job waiting for it"
    mkdir "$scratch/bin"
    # Stands in for the real tsx, which need not be here: it takes jobs, if it is let.
    ln -s "$PWD/docker/demo/worker.sh" "$scratch/bin/tsx"
    local worker
    for worker in stale tsx unknown; do
        redis RPUSH "jobs:$worker" "invoice-6 0" >/dev/null
    done

    start stale NODE_ENV=production GIT_SHA=$stale EXPECTED_GIT_SHA=$current -- sh docker/demo/worker.sh
    refused stale "version-guard run -- sh docker/demo/worker.sh, from an old image" \
        "[version] FATAL: Version mismatch!" \
        "[version]   Image SHA:    $stale" \
        "[version]   Expected SHA: $current" \
        "[version] This worker is running STALE code. Exiting."
    start tsx NODE_ENV=production GIT_SHA=$current EXPECTED_GIT_SHA=$current -- tsx worker.ts
    refused tsx "version-guard run -- tsx worker.ts" \
        "[version] FATAL: Running via tsx in production!" \
        "[version] Workers must be compiled to JS and run with node."
    start unknown NODE_ENV=production -- sh docker/demo/worker.sh
    refused unknown "version-guard run -- sh docker/demo/worker.sh, from an image without a SHA" \
        "[version] FATAL: GIT_SHA is 'unknown' in production!" \
        "[version] Image was built without --build-arg GIT_SHA" \
        "[version] This worker CANNOT run - may be stale code."
    say "Their jobs still wait, and Redis has never heard of them."
}

refused() { # TYPE DESCRIPTION LINE…
    local worker=$1 description=$2 line
    shift 2
    eventually "The refusal of the $worker worker" gone "${shims[$worker]}"
    has_ended "$worker"
    say "$worker: $description: exit $code"
    indented "$scratch/$worker.log"
    same "$code" 1 "exit code of the $worker shim"
    for line in "$@"; do
        says "$worker" "$line"
    done
    same "$(redis LRANGE "jobs:$worker" 0 -1)" "invoice-6 0" "list of jobs for the $worker worker"
    same "$(redis EXISTS "results:$worker")" 0 "number of result lists of the $worker worker"
    same "$(redis --scan --pattern "fiskai:worker:$worker:*")" "" "list of keys of the $worker worker"
    ! redis ZRANGE fiskai:workers 0 -1 | grep "^$worker/" >/dev/null \
        || fail "The $worker worker is in the index."
}

# Without this, three commands that could not work anyway would pass for refused ones.
let_the_refused_run() {
    step 7 "The same three with the guards out of the way: it was they who refused"
    start stale NODE_ENV=production GIT_SHA=$stale -- sh docker/demo/worker.sh
    start tsx GIT_SHA=$current -- tsx worker.ts
    start unknown -- sh docker/demo/worker.sh
    local worker
    for worker in stale tsx unknown; do
        eventually "A result of the $worker worker" length_is "results:$worker" 1
        stop "$worker"
    done
    for worker in stale tsx unknown; do
        has_ended "$worker"
        same "$code" 0 "exit code of the $worker shim"
        say "$worker: $(redis LINDEX "results:$worker" 0)"
    done
}

stop_workers() {
    step 8 "Stop the workers in the middle of a job, with SIGTERM to the shim"
    local worker
    for worker in "${workers[@]}"; do
        redis RPUSH "jobs:$worker" "invoice-4 3" "invoice-5 0" >/dev/null
    done
    for worker in "${workers[@]}"; do
        eventually "The $worker worker with a job in hand" length_is "jobs:$worker" 1
        stop "$worker"
    done
    for worker in "${workers[@]}"; do
        has_ended "$worker"
        same "$code" 0 "exit code of the $worker shim"
        same "$(redis LRANGE "results:$worker" 0 -1)" "$(done_jobs 1 2 3 4)" "results of the $worker worker"
        same "$(redis LRANGE "jobs:$worker" 0 -1)" "invoice-5 0" "jobs left for the $worker worker"
        say "$worker: finished invoice-4, left invoice-5 for others, exit $code"
    done
}

finish() {
    step 9 "Clean up"
    clean_up
    [ ! -e "$scratch" ] || fail "$scratch is still there."
    # Every shim was started with this folder in its PATH, and so was all that came of it.
    ! grep -qsaF "$scratch/bin" /proc/[0-9]*/environ || fail "A process of the demo still runs."
    say "Nothing is left of it: no process, no file, no Redis."
    echo
    if [ ${#workers[@]} -lt 3 ]; then
        echo "All steps did what they say, for ${workers[*]}."
    else
        echo "All steps did what they say."
    fi
}

step() {
    printf '\n%s. %s\n' "$1" "$2"
}

say() {
    printf '   %s\n' "$1"
}

indented() {
    sed 's/^/     /' "$@"
}

fail() {
    explained=yes
    {
        printf '\nThe demo failed: %s\n' "$1"
        local log
        for log in "$scratch"/*.log; do
            [ ! -s "$log" ] || { echo "The end of ${log##*/}:" && tail -n 5 "$log" | indented; }
        done
    } >&2
    exit 1
}

same() { # ACTUAL EXPECTED WHAT
    [ "$1" = "$2" ] || fail "The $3 should be '$2' and is '$1'."
}

says() { # TYPE LINE
    grep -qxF -- "$2" "$scratch/$1.log" || fail "The $1 shim did not say: $2"
}

eventually() { # WHAT COMMAND…
    local what=$1 deadline=$((SECONDS + 20))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || fail "$what: not within 20 seconds."
        sleep 0.05
    done
}

redis() {
    redis-cli -h 127.0.0.1 -p "$port" "$@"
}

# Another Redis may be on the port; then this one ends, and the answer has another pid.
redis_answers_or_ended() {
    ! running "$redis" || redis INFO server 2>/dev/null | grep "^process_id:${redis}[^0-9]*$" >/dev/null
}

registered() {
    [ "$(redis EXISTS "fiskai:worker:$1:version")" = 1 ] && grep -q "is registered" "$scratch/$1.log"
}

length_is() { # LIST LENGTH
    [ "$(redis LLEN "$1")" = "$2" ]
}

done_jobs() { # NUMBER…
    printf "invoice-%s done by $current\n" "$@"
}

# Only the variables that an image and a deployment would set, whatever is set around the demo.
start() { # TYPE [VARIABLE=VALUE…] -- COMMAND…
    local worker=$1 variables=()
    shift
    while [ "$1" != -- ]; do
        variables+=("$1")
        shift
    done
    shift
    env -i PATH="$scratch/bin:$PATH" HOME="${HOME:-/}" REDIS_URL="redis://127.0.0.1:$port" \
        WORKER_TYPE="$worker" BUILD_DATE="$build_date" "${variables[@]}" \
        "$shim" run -- "$@" >"$scratch/$worker.log" 2>&1 &
    shims[$worker]=$!
}

stop() { # TYPE
    kill -TERM "${shims[$1]}" || fail "The $1 shim ended before it was told to."
}

# Leaves the shim's exit code in `code`.
has_ended() { # TYPE
    local pid=${shims[$1]}
    eventually "The end of the $1 shim" gone "$pid"
    code=0
    wait "$pid" || code=$?
    unset "shims[$1]"
}

running() {
    kill -0 "$1" 2>/dev/null
}

gone() {
    ! running "$1"
}

on_exit() {
    local code=$?
    clean_up
    [ "$code" = 0 ] || [ -n "$explained" ] \
        || echo "The demo ended early, with $code. Nothing of it is left running." >&2
}

clean_up() {
    trap '' INT TERM HUP PIPE
    # The workers first: they need Redis to finish the job in hand.
    end "${shims[@]}"
    shims=()
    [ -z "$redis" ] || end "$redis"
    redis=
    rm -rf "$scratch"
}

# Ends processes of the demo's own: politely, and after ten seconds with their children.
end() { # PID…
    local pid child deadline=$((SECONDS + 10))
    for pid in "$@"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in "$@"; do
        while running "$pid"; do
            if ((SECONDS >= deadline)); then
                read -ra children <"/proc/$pid/task/$pid/children" || true
                for child in "$pid" "${children[@]}"; do
                    kill -KILL "$child" 2>/dev/null || true
                done
                break
            fi
            sleep 0.05
        done
        wait "$pid" 2>/dev/null || true
    done
}

trap on_exit EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM
main
