#!/usr/bin/env bash
# Breaks the code on purpose, one seeded bug at a time, and demands that the fast tests go red.
#
#   tests/seeded/run.sh [--jobs N] [--keep] [--named] [name…]
#
# A name is a part of a patch's file name; without one all of tests/seeded/*.patch are tried. With
# --named only the tests are run that the patch itself names behind `Red:`, and not the tree as it is,
# which is much quicker. Every patch is applied to a copy of the tree outside of the repository, under
# $TMPDIR; --keep leaves the copies there, so that the next run finds them built ($SEEDED_DIR says
# where). First the tree as it is must be green. A patch that does not apply or does not build is an
# error and no catch. Tests that do not come to an end within $SEEDED_LIMIT seconds (120) are stopped,
# and the bug is said to hang.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
jobs=1
keep=no
named=no
names=()
while [ $# -gt 0 ]; do
    case $1 in
        --jobs) jobs=$2; shift 2 ;;
        --keep) keep=yes; shift ;;
        --named) named=yes; shift ;;
        -*) echo "usage: $0 [--jobs N] [--keep] [--named] [name…]" >&2; exit 2 ;;
        *) names+=("$1"); shift ;;
    esac
done
limit=${SEEDED_LIMIT:-120}
if [ -n "${SEEDED_DIR:-}" ]; then
    scratch=$SEEDED_DIR
    keep=yes
    mkdir -p "$scratch"
else
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/brooklet-seeded.XXXXXX")
fi
trap '[ "$keep" = yes ] || rm -rf "$scratch"' EXIT
results=$scratch/results
rm -rf "$results"
mkdir -p "$results"
# The copies are no part of any repository, wherever they stand.
export BROOKLET_FAST=1 RUST_BACKTRACE=0 GIT_CEILING_DIRECTORIES=$scratch
unset BROOKLET_LONG CARGO_TARGET_DIR

patches=()
for patch in "$root"/tests/seeded/*.patch; do
    name=$(basename "$patch" .patch)
    wanted=$([ ${#names[@]} -eq 0 ] && echo yes || echo no)
    for part in ${names[@]+"${names[@]}"}; do
        [[ $name == *"$part"* ]] && wanted=yes
    done
    [ "$wanted" = yes ] && patches+=("$patch")
done
[ ${#patches[@]} -gt 0 ] || { echo "no patch has such a name" >&2; exit 2; }

filters=()
while read -r line; do
    case $line in
        '' | '#'*) ;;
        -*) filters+=(--skip "${line#-}") ;;
        *) filters+=("$line") ;;
    esac
done < "$root/tests/seeded/fast.txt"

# The tree without its history and what was built. The copies are new to cargo, whatever an earlier
# run has built there.
copy_tree() {
    mkdir -p "$1"
    tar -C "$root" --exclude=./target --exclude=./.git --exclude=./fuzz/target -cf - . | tar -C "$1" -xmf -
}

# Builds the copy in the present directory and runs the fast tests, or those that a patch names: green,
# red, hangs, or an error.
try() {
    local wanted=("${filters[@]}")
    if [ "$named" = yes ] && [ $# -gt 1 ]; then
        read -ra wanted < <(sed -nE 's/^Red: (.*)/\1/p' "$2" | tr -d ,)
        [ ${#wanted[@]} -gt 0 ] || { echo error; return; }
    fi
    if ! cargo test --quiet --profile mutants --lib --test it --no-run > "$1.build" 2>&1; then
        echo error
        return
    fi
    local code=0
    timeout --kill-after=5 "$limit" cargo test --profile mutants --no-fail-fast --lib --test it \
        -- "${wanted[@]}" > "$1.out" 2>&1 < /dev/null || code=$?
    grep -aE '^test .* \.\.\. FAILED' "$1.out" | sed -E 's/^test (.*) \.\.\. FAILED.*/\1/' | sort -u > "$1.red" || true
    if [ "$code" -eq 0 ]; then
        echo green
    elif [ "$code" -eq 124 ] || [ "$code" -eq 137 ]; then
        echo hangs
    elif [ -s "$1.red" ] || grep -qaE 'signal:|SIGABRT' "$1.out"; then
        echo red
    else
        echo error
    fi
}

# Tries every share-th patch from the first on, in a copy of its own.
work() {
    local first=$1 tree=$scratch/tree$1 index name patch log
    copy_tree "$tree"
    cd "$tree"
    for ((index = first; index < ${#patches[@]}; index += jobs)); do
        patch=${patches[index]}
        name=$(basename "$patch" .patch)
        log=$results/$name
        if ! git apply --check "$patch" 2> "$log.build"; then
            echo error > "$log.verdict"
        else
            git apply "$patch"
            try "$log" "$patch" > "$log.verdict"
            git apply -R "$patch"
        fi
        say "$name"
    done
}

say() {
    local log=$results/$1 verdict red
    verdict=$(cat "$log.verdict")
    red=$(head -4 "$log.red" 2> /dev/null | paste -sd, | sed 's/,/, /g' || true)
    printf '%-7s %-40s %s red: %s\n' "$verdict" "$1" "$(wc -l < "$log.red" 2> /dev/null || echo 0)" "$red"
}

if [ "$named" = no ]; then
    echo "== the tree as it is"
    copy_tree "$scratch/tree0"
    verdict=$(cd "$scratch/tree0" && try "$results/as-it-is")
else
    verdict=green
fi
if [ "$verdict" != green ]; then
    echo "the fast tests are $verdict without any bug:" >&2
    cat "$results/as-it-is.red" "$results/as-it-is.build" 2> /dev/null | tail -20 >&2
    keep=yes
    exit 1
fi
[ "$named" = yes ] || grep -a '^test result' "$results/as-it-is.out"

echo "== ${#patches[@]} seeded bugs"
for ((job = 1; job < jobs; job++)); do
    [ -d "$scratch/tree$job/target" ] || [ ! -d "$scratch/tree0/target" ] || { mkdir -p "$scratch/tree$job"; cp -a "$scratch/tree0/target" "$scratch/tree$job/"; }
done
for ((job = 0; job < jobs; job++)); do
    work "$job" &
done
wait

caught=0
for patch in "${patches[@]}"; do
    case $(cat "$results/$(basename "$patch" .patch).verdict" 2> /dev/null) in
        red | hangs) caught=$((caught + 1)) ;;
    esac
done
echo "== caught $caught/${#patches[@]}"
[ "$caught" -eq ${#patches[@]} ]
