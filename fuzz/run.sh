#!/usr/bin/env bash
# Runs every fuzz target, or those named, and says of each what it did.
#
#   fuzz/run.sh [runs-per-target] [target…]        by default 100,000 runs of all seven
#
# Needs a nightly toolchain and cargo-fuzz. New inputs go to fuzz/work/<target>, which is not kept;
# an input that fails goes to fuzz/artifacts/<target>, and the script then ends with 1.
set -uo pipefail
cd "$(dirname "$0")/.."

runs="${1:-100000}"
shift || true
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || targets=(frames names open journals mutate script groups)

# There is no unsafe code to sanitize; the allocator of the fuzz crate bounds the memory.
cargo +nightly fuzz build --sanitizer none || exit 1

# The longest input that a target gets something out of.
length() {
    case "$1" in
        frames | names) echo 4096 ;;
        open) echo 8192 ;;
        groups) echo 48 ;;
        script) echo 96 ;;
        *) echo 512 ;;
    esac
}

failed=0
printf '%-9s %10s %8s %10s %10s  %s\n' target runs exec/s 'rss (MiB)' 'peak (KiB)' outcome
for target in "${targets[@]}"; do
    work="fuzz/work/$target"
    log="fuzz/work/$target.log"
    mkdir -p "$work" "fuzz/artifacts/$target"
    cargo +nightly fuzz run --sanitizer none "$target" "$work" "fuzz/corpus/$target" -- \
        -runs="$runs" -max_len="$(length "$target")" -timeout=20 -rss_limit_mb=1024 \
        -print_final_stats=1 >"$log" 2>&1
    code=$?
    stat() { grep -a "^stat::$1:" "$log" | tail -1 | grep -o '[0-9]*$'; }
    peak="$(grep -a '^peak allocation:' "$log" | tail -1 | grep -o '[0-9]*' | head -1)"
    outcome=passed
    if [ "$code" -ne 0 ]; then
        failed=1
        outcome="FAILED ($code): $(grep -aE 'panicked at|holds more than|libFuzzer: ' "$log" | head -1)"
    fi
    printf '%-9s %10s %8s %10s %10s  %s\n' "$target" "$(stat number_of_executed_units)" \
        "$(stat average_exec_per_sec)" "$(stat peak_rss_mb)" "$((${peak:-0} / 1024))" "$outcome"
done
exit "$failed"
