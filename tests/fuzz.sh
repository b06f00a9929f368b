#!/usr/bin/env bash
# Fuzzes the parsers of all text from outside, led by what of the code has been reached:
#   tests/fuzz.sh                  names the targets, which are the unit tests that begin with "any"
#   tests/fuzz.sh TARGET SECONDS   one of them, by a part of its name
#   tests/fuzz.sh --all SECONDS    all of them in turn, for so many seconds in all
# What was learned is kept in target/fuzz/corpus, and an input that fails in target/fuzz/failures.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What `cargo bolero test` builds with: cargo-bolero needs no installation then, and Rust no nightly.
instrumented=(
    --cfg=fuzzing --cfg=fuzzing_libfuzzer
    -Ccodegen-units=1
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
)

main() {
    local binary targets=()
    # libFuzzer is C++, and comes as its source.
    docker/packages.sh g++=g++ >&2
    binary=$(build)
    mapfile -t targets < <("$binary" --list 2>/dev/null | sed -n 's/^\(.*::any_.*\): test$/\1/p')
    case "${1:-}" in
        "") printf '%s\n' "${targets[@]}" ;;
        --all) fuzz_all "$binary" "$2" "${targets[@]}" ;;
        *) fuzz_one "$binary" "$2" "$(only "$1" "${targets[@]}")" ;;
    esac
}

# With overflow and debug checks, which the release has not.
build() {
    RUSTFLAGS="${instrumented[*]}" CARGO_TARGET_DIR=target/fuzz CARGO_PROFILE_DEV_OPT_LEVEL=2 \
        CARGO_PROFILE_DEV_DEBUG=false \
        cargo test --quiet --locked --bin version-guard --no-run --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

only() { # PART OF A NAME, TARGET…
    local part=$1 found=() target
    shift
    for target in "$@"; do
        [[ "$target" != *"$part"* ]] || found+=("$target")
    done
    if [ ${#found[@]} != 1 ]; then
        printf 'The targets with "%s" in their name are not one but these: %s\n' "$part" "${found[*]}" >&2
        exit 2
    fi
    printf '%s\n' "${found[0]}"
}

fuzz_all() { # BINARY SECONDS TARGET…
    local binary=$1 seconds=$2 each failed=0 target
    shift 2
    each=$(((seconds + $# - 1) / $#))
    for target in "$@"; do
        fuzz_one "$binary" "$each" "$target" || failed=$((failed + 1))
    done
    printf '%d of %d targets have failed\n' "$failed" $#
    [ "$failed" = 0 ]
}

# One line about one target; all that was said where it fails.
fuzz_one() { # BINARY SECONDS TARGET
    local binary=$1 seconds=$2 target=$3 name=${3//::/__} log
    local corpus=$PWD/target/fuzz/corpus/$name failures=$PWD/target/fuzz/failures/$name
    log=$PWD/target/fuzz/$name.log
    mkdir -p "$corpus" "$failures"
    # A run goes on a little behind its time, and libFuzzer itself stops it.
    if RUST_BACKTRACE=0 BOLERO_TEST_NAME=$target BOLERO_LIBTEST_HARNESS=1 \
        BOLERO_LIBFUZZER_ARGS="$corpus -max_total_time=$seconds -timeout=10 -rss_limit_mb=1024 -max_len=4096 -print_final_stats=1 -artifact_prefix=$failures/" \
        "$binary" "$target" --exact --nocapture --quiet --test-threads 1 >"$log" 2>&1; then
        printf '%s: %s inputs, %s\n' "$target" \
            "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
            "$(sed -n 's/.*DONE *\(cov: [0-9]* ft: [0-9]* corp: [0-9]*\).*/\1/p' "$log")"
    else
        cat "$log"
        printf '%s has failed; the input is in %s\n' "$target" "$failures"
        return 1
    fi
}

main "$@"
