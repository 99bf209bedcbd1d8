#!/usr/bin/env bash
# Runs the models: every order of the small ones (loom), many orders of the scenarios (shuttle).
#
#   tests/models.sh                                  all loom models, 1,000 schedules of each scenario
#   BROOKLET_SCHEDULES=100000 tests/models.sh        the long run
#   tests/models.sh a_roll                           only scenarios whose name contains this
#   tests/models.sh loom_                            only loom's
#   BROOKLET_REPLAY=target/shuttle/tmp/schedule000.txt tests/models.sh a_roll    a failure once more
#
# BROOKLET_SEED chooses other schedules, LOOM_MAX_PREEMPTIONS bounds or widens all loom models.
set -euo pipefail
cd "$(dirname "$0")/.."

# Builds of their own, so that the usual one stays as it is.
export CARGO_PROFILE_TEST_DEBUG=0
filter="${1:-}"

case "$filter" in
"" | loom_*)
    RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --lib -- "${filter:-loom_}"
    ;;
esac
case "$filter" in
loom_*) ;;
*)
    RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=target/shuttle cargo test --test shuttle -- "$filter"
    ;;
esac
