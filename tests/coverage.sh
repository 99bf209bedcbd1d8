#!/usr/bin/env bash
# Which lines of the crate the tests run: a table by file, and the lines that none of them does.
#
#   tests/coverage.sh [filter…]
#
# Needs the compiler's own tools: rustup component add llvm-tools. The tests of the crate and tests/it
# are run once with counters in them; BROOKLET_FAST=1 in the environment has the fast modes of the long
# sweeps run. Children that are killed write no counts. What was built and counted stands under
# $COVERAGE_DIR, or in a directory of its own that is removed again.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(dirname "$(find "$(rustc --print sysroot)" -name llvm-cov -type f | head -1)")
[ -x "$tools/llvm-profdata" ] || {
    echo "error: llvm-cov is missing: rustup component add llvm-tools" >&2
    exit 1
}
scratch=${COVERAGE_DIR:-}
if [ -z "$scratch" ]; then
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/brooklet-coverage.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
fi
rm -rf "$scratch/raw"
mkdir -p "$scratch/raw"
# Only the crate and its tests are counted, not what they depend on.
printf '#!/bin/sh\nexec "$@" -C instrument-coverage\n' > "$scratch/counted"
chmod +x "$scratch/counted"
export RUSTC_WORKSPACE_WRAPPER=$scratch/counted
export CARGO_TARGET_DIR=$scratch/target
export LLVM_PROFILE_FILE=$scratch/raw/%p-%m.profraw
build() { cargo test --profile mutants --all-features --lib --test it --no-run "$@"; }
build
mapfile -t binaries < <(build --message-format=json 2> /dev/null |
    grep -o '"executable":"[^"]*"' | cut -d'"' -f4)
cargo test --profile mutants --all-features --no-fail-fast --lib --test it -- "$@" || echo "some tests failed" >&2
"$tools/llvm-profdata" merge -sparse "$scratch"/raw/*.profraw -o "$scratch/all.profdata"
objects=()
for binary in "${binaries[@]:1}"; do
    objects+=(--object "$binary")
done
"$tools/llvm-cov" export "${binaries[0]}" ${objects[@]+"${objects[@]}"} --format=lcov \
    --instr-profile "$scratch/all.profdata" --ignore-filename-regex '/(tests|examples|rustc|registry)/' \
    > "$scratch/all.lcov"
# Unit tests stand behind the code they test; from there on nothing is counted.
awk -F'[:,]' '
    /^SF:/ {
        file = substr($0, 4); sub(/.*\/src\//, "src/", file)
        until = 1000000; number = 0
        while ((getline line < file) > 0) {
            number++
            if (line ~ /^#\[cfg\(test\)\]/) { until = number; break }
        }
        close(file)
    }
    /^DA:/ && $2 < until {
        lines[file]++
        if ($3 > 0) run[file]++; else missed[file] = missed[file] " " $2
    }
    END {
        for (file in lines) printf "%6.2f%% %5d of %5d  %s %s\n", 100 * run[file] / lines[file], run[file], lines[file], file, missed[file] ? "not:" missed[file] : ""
        for (file in lines) { part = file; sub(/^src\//, "", part); sub(/\/.*/, "", part); sum[part] += lines[file]; ran[part] += run[file] }
        for (part in sum) printf "%6.2f%% %5d of %5d  all of %s\n", 100 * ran[part] / sum[part], ran[part], sum[part], part
    }' "$scratch/all.lcov" | sort -k5
