#!/usr/bin/env bash
# Runs every fuzz target for a number of inputs with overflow checks, at most 2 s and 512 MB each: about a million inputs in
# all by default.
#
#   cargo install cargo-fuzz --locked
#   scripts/fuzz.sh            # or: scripts/fuzz.sh INPUTS_PER_TARGET
set -euo pipefail
cd "$(dirname "$0")/.."

inputs=${1:-60000}
export RUSTC_BOOTSTRAP=1 # the instrumentation is not stable
options=(-O -a -s none)
cargo fuzz build "${options[@]}"
found=$(mktemp -d) # new inputs; the seeds are only read
trap 'rm -rf "$found"' EXIT
for target in $(cargo fuzz list); do
  echo "$target"
  mkdir -p "$found/$target" "fuzz/corpus/$target"
  cargo fuzz run "${options[@]}" "$target" "$found/$target" "fuzz/corpus/$target" -- \
    -runs="$inputs" -timeout=2 -rss_limit_mb=512 -seed=1 -print_final_stats=1 2>&1 |
    grep -E '^(stat::number_of_executed_units|stat::peak_rss_mb|SUMMARY|Done)|panicked|ERROR'
done
