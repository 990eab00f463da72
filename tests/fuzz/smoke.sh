#!/bin/bash
# smoke.sh PROGRAM CORPUS - a short run of a libFuzzer program from its corpus, as one TAP case. What
# it finds new is thrown away; a crash is printed in hexadecimal so that it can become a corpus file.
# ENGRAM_FUZZ_SECONDS (10) and ENGRAM_FUZZ_SEED (1; 0: another each time) are for longer hunts.
seconds=${ENGRAM_FUZZ_SECONDS:-10}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/new"
corpus=()
[ -d "$2" ] && corpus=("$2")
if "$1" -seed="${ENGRAM_FUZZ_SEED:-1}" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -max_len=65536 -artifact_prefix="$work/" \
    "$work/new" "${corpus[@]}" >"$work/log" 2>&1; then
    runs=$(sed -nE 's/^Done ([0-9]+) runs.*/\1/p' "$work/log")
    cov=$(sed -nE 's/.* cov: ([0-9]+) .*/\1/p' "$work/log" | tail -n 1)
    if [ "${cov:-0}" -lt 20 ]; then
        echo "not ok 1 - $(basename "$1"): covered only ${cov:-0} edges, it fuzzes blind"
    else
        echo "ok 1 - $(basename "$1"): $runs runs, $cov edges, nothing found"
    fi
else
    tail -n 40 "$work/log" | sed 's/^/# /'
    for f in "$work"/crash-* "$work"/timeout-* "$work"/oom-*; do
        [ -f "$f" ] && { echo "# $(basename "$f"):"; od -An -tx1 -v "$f" | head -n 60 | sed 's/^/# /'; }
    done
    echo "not ok 1 - $(basename "$1") found something"
fi
echo 1..1
