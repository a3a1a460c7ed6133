#!/bin/sh
# Fuzzes each target for some minutes and prints a table. Plain cargo and the stable compiler are enough; a C++ compiler builds
# libFuzzer.
#
#   fuzz/run.sh fuzz [TARGET...]      MINUTES of each (default 3), JOBS at a time (default 1)
#   fuzz/run.sh minimise [TARGET...]  what was found, the smallest inputs that reach as much, into fuzz/corpus
set -eu
cd "$(dirname "$0")"
target=x86_64-unknown-linux-gnu
out=${CARGO_TARGET_DIR:-$PWD/target}
minutes=${MINUTES:-3}
all="bolt codec config datadir editor records wal xml"

# What cargo-fuzz would set, without a sanitizer (the product has no unsafe code, and memory is limited by src/lib.rs and -rss_limit_mb) and
# without dead code, whose counters libFuzzer would look through after every run.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
export RUSTFLAGS

one() {
  found=$out/found/$1
  mkdir -p "$found" "crashes/$1"
  status=0
  "$out/$target/release/$1" "$found" "corpus/$1" "crashes/$1" -max_total_time=$((minutes * 60)) -max_len=65536 -timeout=30 \
    -rss_limit_mb=512 -print_final_stats=1 -artifact_prefix="crashes/$1/" >"$out/found/$1.log" 2>&1 || status=$?
  rmdir "crashes/$1" 2>/dev/null || true
  stat() { sed -n "s/^stat::$1: *//p" "$out/found/$target_name.log" | tail -1; }
  target_name=$1
  printf '%-10s %12s executions %8s/s  peak %4s MiB  %5s inputs  %s\n' "$1" "$(stat number_of_executed_units)" \
    "$(stat average_exec_per_sec)" "$(stat peak_rss_mb)" "$(ls "$found" | wc -l)" \
    "$([ $status -eq 0 ] && echo ok || echo "FAILED ($status): $out/found/$1.log, the input is in fuzz/crashes/$1")"
  return $status
}

command=${1:-fuzz}
shift || true
case $command in
  one) one "$1" ;;
  fuzz)
    cargo build --release --locked --target $target
    mkdir -p "$out/found"
    # xargs fails when one of them does.
    printf '%s\n' ${*:-$all} | xargs -n 1 -P "${JOBS:-1}" "$0" one
    ;;
  minimise)
    for name in ${*:-$all}; do
      mkdir -p "$out/least/$name"
      "$out/$target/release/$name" -merge=1 -max_len=8192 "$out/least/$name" "corpus/$name" "$out/found/$name" 2>&1 | tail -1
      # The seeds stay; of the rest the small ones, up to 150 KiB for each target.
      find "corpus/$name" -type f ! -name 'seed-*' -delete
      size=0
      for file in $(ls -Sr "$out/least/$name"); do
        size=$((size + $(stat -c %s "$out/least/$name/$file")))
        [ $size -gt 150000 ] && break
        cp "$out/least/$name/$file" "corpus/$name/"
      done
      rm -r "$out/least/$name"
    done
    du -sh corpus
    ;;
  *) echo "usage: $0 fuzz|minimise [TARGET...]" >&2; exit 2 ;;
esac
