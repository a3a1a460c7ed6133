#!/usr/bin/env bash
# Time, processor time, peak memory and peak disk of `lifeboat save` and `lifeboat restore` beside what a user would run instead, and
# what a save does to the writes of the same etcd. One run, the commands in turn, medians with the least and the greatest.
#
# The db is made once, of Kubernetes-like objects, and kept in BENCH_DATA. lifeboat and the script send to and fetch from a real S3
# server. Environment:
#   LIFEBOAT        directory of the binaries (default: target/release)
#   BENCH_DATA      where dbs are kept (default: target/bench)
#   BENCH_MIB       size of the db in MiB (default 1340)
#   BENCH_ROUNDS    how often each command runs (default 3)
#   BENCH_PARTS     which parts run (default "save restore local first impact")
#   BENCH_STORE     where the S3 server keeps its data, made and removed here (default: on the disk of etcd, which feels that)
set -euo pipefail

stage_name=bench
# shellcheck source=../tests/support/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tests/support/stage.sh"
readonly bin=${LIFEBOAT:-${CARGO_TARGET_DIR:-$stage_root/target}/release} kept=${BENCH_DATA:-$stage_root/target/bench}
readonly lifeboat=$bin/lifeboat tool=$bin/lifeboat-bench
[ -x "$lifeboat" ] && [ -x "$tool" ] || { echo "bench: $bin has no lifeboat and lifeboat-bench; run: make bench" >&2; exit 1; }
readonly mib=${BENCH_MIB:-1340} rounds=${BENCH_ROUNDS:-3} parts=" ${BENCH_PARTS:-save restore local first impact} "
readonly rclone=$tools/rclone
results=$dir/results

wanted() { [[ $parts == *" $1 "* ]]; }

# Runs a command; appends name, seconds, processor seconds and KiB to the results; its output only when it fails.
measure() { # name command...
    python3 - "$results" "$@" <<'PY'
import os, subprocess, sys, time
results, name, command = sys.argv[1], sys.argv[2], sys.argv[3:]
with open(results + ".out", "wb") as out:
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - start
if status != 0:
    sys.stderr.write(open(results + ".out", errors="replace").read()[-3000:])
    sys.exit(f"bench: {' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
with open(results, "a") as f:
    f.write(f"{name}\t{seconds:.3f}\t{usage.ru_utime + usage.ru_stime:.3f}\t{usage.ru_maxrss}\n")
PY
}

# Prints the table of a part. The first name is what the ratios are of.
table() { # title name...
    python3 - "$results" "$@" <<'PY'
import collections, statistics, sys
title, names = sys.argv[2], sys.argv[3:]
rows = collections.defaultdict(list)
for line in open(sys.argv[1]):
    name, *numbers = line.rstrip("\n").split("\t")
    rows[name].append([float(n) for n in numbers])
base = statistics.median(r[0] for r in rows[names[0]])
print(f"\n{title}\n{'':<34} {'seconds':>8} {'min-max':>13} {'ratio':>6} {'cpu s':>7} {'peak MiB':>9}")
for name in names:
    if name not in rows:
        continue
    seconds, cpu, kib = ([r[i] for r in rows[name]] for i in range(3))
    span = f"{min(seconds):.1f}-{max(seconds):.1f}"
    print(f"{name:<34} {statistics.median(seconds):>8.2f} {span:>13} {statistics.median(seconds) / base:>6.2f}"
          f" {statistics.median(cpu):>7.1f} {max(kib) / 1024:>9.1f}")
PY
}

lifeboat_clean() { env -i PATH="$PATH" HOME="$dir" "$lifeboat" "$@" --config "$conf"; }
export -f lifeboat_clean 2>/dev/null || true

write_configuration bench 'schedule = []'
{ echo 'schedule = []'; grep -v '^schedule = \[\]$' "$conf"; } >"$conf.new" && mv "$conf.new" "$conf"
weed_data=${BENCH_STORE:+$(mktemp -d -p "$BENCH_STORE")}
at_end() { [ -z "$weed_data" ] || rm -rf -- "$weed_data"; return "$1"; }
start_weed
cat >"$dir/rclone.conf" <<CONF
[s3]
type = s3
provider = SeaweedFS
endpoint = http://$s3
access_key_id = $(cat "$dir/access-key")
secret_access_key = $(cat "$dir/secret-key")
CONF

mkdir -p "$kept"
if [ ! -d "$kept/etcd-$mib" ]; then
    echo "bench: filling a db of $mib MiB, once" >&2
    start_etcd
    "$tool" fill "$client" "$mib"
    end "$etcd_pid" TERM
    mv -T "$data" "$kept/etcd-$mib"
fi
# Its own copy: the load writes to it.
cp -a "$kept/etcd-$mib" "$data"
sync -f "$data"
start_etcd
readonly db=$data/member/snap/db
echo "bench: db of $(($(stat -c %s "$db") >> 20)) MiB, $(nproc) processors, $rounds rounds, load $(cut -d ' ' -f 1 /proc/loadavg)"

ours() { # compression name
    measure "lifeboat save, $1" env -i PATH="$PATH" HOME="$dir" "$lifeboat" save --compression "$1" --name "$2" --config "$conf"
}
script_save() {
    bash -c "set -e; ETCDCTL_API=3 '$etcd/etcdctl' --endpoints='$client' snapshot save '$dir/script.db' 2>/dev/null
        gzip -1 -f '$dir/script.db'; '$rclone' --config '$dir/rclone.conf' copyto '$dir/script.db.gz' s3:snapshots/script.db.gz"
}
export -f script_save
export etcd client dir rclone

forget() { # what is shipped is not kept on this disk between rounds
    rm -rf -- "$dir"/restored-* "$dir"/fetched*
    sync -f "$dir"
}

A='etcdctl snapshot save (A)'
if wanted save; then
    for round in $(seq "$rounds"); do
        forget
        measure "$A" env ETCDCTL_API=3 "$etcd/etcdctl" --endpoints="$client" snapshot save "$dir/ctl.db"
        forget
        for format in zstd gzip none; do ours "$format" "round$round-$format"; forget; done
        [ ! -x "$rclone" ] || { measure "script: etcdctl, gzip -1, rclone" bash -c script_save; forget; }
    done
    table "Save, until the manifest is in the S3 server" "$A" "lifeboat save, zstd" "lifeboat save, gzip" "lifeboat save, none" "script: etcdctl, gzip -1, rclone"
fi
[ -f "$dir/ctl.db" ] || ctl snapshot save "$dir/ctl.db" >/dev/null 2>&1
snapshot_of() { # format: the name of the newest one
    lb ls -o json | grep -o "\"[a-z0-9-]*-$1-[^\"]*Z\"" | tr -d '"' | sort -u | tail -n 1
}
for format in zstd gzip; do
    [ -n "$(snapshot_of "$format" || true)" ] || ours "$format" "round0-$format"
done
: >"$results"
readonly flags=(--name cp1 --initial-cluster "cp1=$peer" --initial-advertise-peer-urls "$peer")
restore() { # name snapshot
    measure "$1" env -i PATH="$PATH" HOME="$dir" "$lifeboat" restore "$2" --data-dir "$dir/restored-lifeboat" "${flags[@]}" --config "$conf"
}
script_restore() {
    bash -c "set -e; '$rclone' --config '$dir/rclone.conf' copyto s3:snapshots/script.db.gz '$dir/fetched.db.gz'; gunzip -f '$dir/fetched.db.gz'
        '$etcd/etcdutl' snapshot restore '$dir/fetched.db' --data-dir '$dir/restored-script' 2>/dev/null"
}
export -f script_restore

D='script: rclone, gunzip, etcdutl (D)'
if wanted restore && [ -x "$rclone" ]; then
    script_save
    gzipped=$(snapshot_of gzip) zstded=$(snapshot_of zstd)
    for round in $(seq "$rounds"); do
        forget; measure "$D" bash -c script_restore
        forget; restore "lifeboat restore, gzip" "$gzipped"
        forget; restore "lifeboat restore, zstd" "$zstded"
    done
    table "Restore, from the store to a data dir that etcd may start on" "$D" "lifeboat restore, gzip" "lifeboat restore, zstd"
    : >"$results"
fi
if wanted local; then
    for round in $(seq "$rounds"); do
        forget; measure "etcdutl snapshot restore" "$etcd/etcdutl" snapshot restore "$dir/ctl.db" --data-dir "$dir/restored-ctl"
        forget; restore "lifeboat restore FILE" "$dir/ctl.db"
    done
    table "Restore of a local file" "etcdutl snapshot restore" "lifeboat restore FILE"
    : >"$results"
fi

first_write() { # data dir: starts an etcd on it and returns when it has taken a write
    local first=http://127.0.0.1:${ports[0]}
    "$etcd/etcd" --name cp1 --data-dir "$1" --listen-client-urls "$first" --advertise-client-urls "$first" --listen-peer-urls "$peer" \
        --initial-advertise-peer-urls "$peer" --initial-cluster "cp1=$peer" >"$dir/first.log" 2>&1 &
    local pid=$!
    until ETCDCTL_API=3 "$etcd/etcdctl" --endpoints="$first" --command-timeout=1s put first write >/dev/null 2>&1; do sleep 0.05; done
    kill -KILL "$pid"
}
export -f first_write
export peer
first_port=${ports[0]}
export first_port
if wanted first && [ -x "$rclone" ]; then
    [ -n "${gzipped:-}" ] || { script_save; gzipped=$(snapshot_of gzip) zstded=$(snapshot_of zstd); }
    end "$etcd_pid" TERM
    export lifeboat conf gzipped zstded
    ours_first() { # snapshot
        bash -c "set -e; ports=($first_port); $(declare -f first_write)
            env -i PATH='$PATH' HOME='$dir' '$lifeboat' restore '$1' --data-dir '$dir/restored-first' ${flags[*]} --config '$conf' >/dev/null; first_write '$dir/restored-first'"
    }
    script_first() {
        bash -c "set -e; ports=($first_port); $(declare -f script_restore first_write); script_restore; first_write '$dir/restored-script'"
    }
    export -f ours_first script_first
    for round in $(seq "$rounds"); do
        forget; measure "script, then etcd" bash -c script_first
        forget; measure "lifeboat, gzip, then etcd" bash -c "ours_first $gzipped"
        forget; measure "lifeboat, zstd, then etcd" bash -c "ours_first $zstded"
    done
    table "From an empty disk to the first accepted write" "script, then etcd" "lifeboat, gzip, then etcd" "lifeboat, zstd, then etcd"
    : >"$results"
    forget
    start_etcd
fi

# Two hundred writes a second, while something else runs.
under_load() { # name command...
    local name=$1
    shift
    rm -f "$dir/stop"
    "$tool" load "$client" 120 200 "$dir/stop" >"$dir/load.out" &
    local load=$!
    sleep 2
    "$@" >"$dir/under.out" 2>&1 || { cat "$dir/under.out" >&2; exit 1; }
    sleep 1
    : >"$dir/stop"
    wait "$load"
    printf '%s\t%s\n' "$name" "$(cat "$dir/load.out")" >>"$dir/loads"
}
if wanted impact; then
    : >"$dir/loads"
    for round in $(seq "$rounds"); do
        under_load "nothing" sleep 8
        forget; under_load "etcdctl snapshot save" env ETCDCTL_API=3 "$etcd/etcdctl" --endpoints="$client" snapshot save "$dir/ctl.db"
        for format in gzip zstd; do
            forget; under_load "lifeboat save, $format" env -i PATH="$PATH" HOME="$dir" "$lifeboat" save --compression "$format" --name "load$round-$format" --config "$conf"
        done
    done
    python3 - "$dir/loads" <<'PY'
import collections, json, statistics, sys
rows = collections.defaultdict(list)
for line in open(sys.argv[1]):
    name, numbers = line.rstrip("\n").split("\t")
    rows[name].append(json.loads(numbers))
print(f"\nA steady 200 writes a second on the same etcd, milliseconds, medians (worst round)\n{'':<26} {'p50':>14} {'p99':>16} {'max':>18} {'failed':>7}")
for name, loads in rows.items():
    cell = lambda key: f"{statistics.median(l[key] for l in loads):.1f} ({max(l[key] for l in loads):.1f})"
    print(f"{name:<26} {cell('p50'):>14} {cell('p99'):>16} {cell('max'):>18} {sum(l['failed'] for l in loads):>7}")
PY
fi
