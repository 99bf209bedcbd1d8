#!/usr/bin/env bash
# Mutates a shard of the source with cargo-mutants, and tries the fast tests on each mutant.
#
#   tests/mutants.sh recovery|manifest|shard|groups|walk|journal|commit|membership [K/N [REGEX]]
#
# K/N takes the Kth of N parts of the shard, counted from zero; a regular expression takes those
# mutants whose description it fits (cargo mutants --list shows them). Works on a copy of the tree under
# $TMPDIR; with $MUTANTS_DIR set, the copy and what was built of it stay there. The result is left in
# mutants.out beside the copy: caught.txt, missed.txt, timeout.txt, unviable.txt.
#
# At first the tests that know the shard best are tried, with their sweeps thinned further; what they
# miss meets all of the fast tests (tests/seeded/fast.txt). A mutant counts as missed that all of them
# miss, and as caught if tests that are to wait for something do so for ever.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
case ${1:-} in
    recovery)
        files=(storage/recovery storage/judge storage/scan)
        near=(crash:: damage:: torn:: corpus:: upkeep:: faults::rolls api::keeping api::telling --skip damage::books)
        ;;
    manifest)
        files=(storage/manifest)
        near=(crash::a_crash_at damage:: corpus:: upkeep:: api:: faults:: groups::crashes)
        ;;
    shard)
        files=(storage/shard storage/shard/work)
        near=(waiting:: async_face:: api:: faults:: full::sends)
        ;;
    groups)
        files=(group/offsets group/registry group/coordinator/commit)
        near=(group:: groups::)
        ;;
    walk)
        files=(storage/walk)
        near=(damage:: torn:: api::reading api::keeping)
        ;;
    journal)
        files=(storage/journal storage/journal/entries)
        near=(crash::a_crash_at damage::books api:: faults:: groups::crashes full::)
        ;;
    commit)
        files=(storage/commit storage/waiter)
        near=(waiting:: async_face:: api:: faults:: full::)
        ;;
    membership)
        files=(group/membership)
        near=(group:: groups::)
        ;;
    *)
        echo "usage: $0 SHARD [K/N]; the shards stand at its head" >&2
        exit 2
        ;;
esac
part=${2:-0/1}
only=${3:-.}
# Unit tests cost a build of their own; only groups have them.
targets=(--cargo-arg=--test=it)
case $1 in groups | membership) targets+=(--cargo-arg=--lib) ;; esac
scratch=${MUTANTS_DIR:-}
if [ -z "$scratch" ]; then
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/brooklet-mutants.XXXXXX")
fi
tree=$scratch/tree
mkdir -p "$tree"
tar -C "$root" --exclude=./target --exclude=./.git --exclude=./fuzz/target -cf - . | tar -C "$tree" -xmf -
export RUST_BACKTRACE=0
unset BROOKLET_LONG CARGO_TARGET_DIR

fast=()
while read -r line; do
    case $line in
        '' | '#'*) ;;
        -*) fast+=(--skip "${line#-}") ;;
        *) fast+=("$line") ;;
    esac
done < "$root/tests/seeded/fast.txt"

mutate() {
    local options=()
    for file in "${files[@]}"; do
        options+=(--file "src/$file.rs")
    done
    # Zero if all are caught, 2 if some are missed, 3 if some came to no end.
    local code=0
    (cd "$tree" && cargo mutants --in-place --no-shuffle --shard "$part" --output "$scratch" \
        --colors never --re "$only" "${options[@]}" "${targets[@]}" "$@") || code=$?
    case $code in 0 | 2 | 3) ;; *) exit "$code" ;; esac
}

rm -rf "$scratch/mutants.out" "$scratch/mutants.out.old"
export BROOKLET_FAST=4
mutate -- -- "${near[@]}"
if [ -s "$scratch/mutants.out/missed.txt" ]; then
    # Tests that never end have noticed something; they need not do so twice.
    cat "$scratch/mutants.out/timeout.txt" >> "$scratch/mutants.out/caught.txt"
    export BROOKLET_FAST=1
    mutate --iterate -- -- "${fast[@]}"
fi
for what in caught missed timeout unviable; do
    cat "$scratch/mutants.out/$what.txt" "$scratch/mutants.out/previously_$what.txt" 2> /dev/null | sort -u > "$scratch/$what.txt" || true
    printf '%s %s\n' "$what" "$(wc -l < "$scratch/$what.txt")"
done
