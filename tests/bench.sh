#!/usr/bin/env bash
# Peak memory and time of `lifeboat save` and `lifeboat restore`, beside what a user would run instead, in one run.
#
# For each size of db: an etcd is filled with Kubernetes-like objects, then each command runs three times, in turn; the
# medians are printed. lifeboat sends to and fetches from a real S3 server (compressed), etcdctl and etcdutl use a local
# file. Peak memory is the kernel's: ru_maxrss of the child. Environment:
#   LIFEBOAT        the binary (default: target/release/lifeboat)
#   BENCH_MIB       sizes of the db in MiB (default "100 1024")
#   BENCH_ROUNDS    how often each command runs (default 3)
set -euo pipefail

stage_name=bench
# shellcheck source=support/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/support/stage.sh"
readonly lifeboat=${LIFEBOAT:-${CARGO_TARGET_DIR:-$stage_root/target}/release/lifeboat}
[ -x "$lifeboat" ] || { echo "bench: $lifeboat is not there; run: make bench" >&2; exit 1; }
readonly sizes=${BENCH_MIB:-100 1024} rounds=${BENCH_ROUNDS:-3}

# Writes until the db is about so large: 4 KiB values, half text and half random, 100 in a transaction, over etcd's
# JSON gateway.
fill() { # MiB
    python3 - "$client" "$1" <<'PY'
import base64, http.client, json, random, sys
from urllib.parse import urlparse
url, goal = urlparse(sys.argv[1]), int(sys.argv[2]) << 20
connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
random.seed(1)
text = (b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"default","labels":{"app":"web"}}}' * 20)[:2048]
encode = lambda data: base64.b64encode(data).decode()
number = 0
# With the key, the page and what bbolt leaves free, a value of 4 KiB takes about so much of the db.
while number * 6000 < goal:
    puts = []
    for _ in range(100):
        key = f"/registry/pods/ns-{number % 50}/pod-{number}".encode()
        puts.append({"requestPut": {"key": encode(key), "value": encode(text + random.randbytes(2048))}})
        number += 1
    connection.request("POST", "/v3/kv/txn", json.dumps({"success": puts}), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        sys.exit(f"etcd answered {answer.status}: {body[:300]!r}")
PY
}

# Runs a command, appends "name seconds KiB" to the results; the command's output only when it fails.
measure() { # name command...
    local name=$1
    shift
    python3 - "$dir/results" "$name" "$@" <<'PY'
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
    f.write(f"{name} {seconds:.3f} {usage.ru_maxrss}\n")
PY
}

write_configuration bench 'schedule = []'
# An empty list of schedules stands above the first section.
{ echo 'schedule = []'; grep -v '^schedule = \[\]$' "$conf"; } >"$conf.new" && mv "$conf.new" "$conf"
start_weed

printf '%8s  %-24s %10s %12s\n' 'db MiB' 'command' 'seconds' 'peak MiB'
for size in $sizes; do
    : >"$dir/results"
    start_etcd
    fill "$size"
    actual=$(($(stat -c %s "$data/member/snap/db") >> 20))
    for round in $(seq "$rounds"); do
        rm -rf -- "$dir"/restored-* "$dir/ctl.db"
        measure "etcdctl-snapshot-save" env ETCDCTL_API=3 "$etcd/etcdctl" --endpoints="$client" snapshot save "$dir/ctl.db"
        measure "lifeboat-save" env -i PATH="$PATH" HOME="$dir" "$lifeboat" save --name "size$size-round$round" --config "$conf"
        measure "etcdutl-snapshot-restore" "$etcd/etcdutl" snapshot restore "$dir/ctl.db" --data-dir "$dir/restored-ctl"
        name=$(lb ls -o json | grep -o "\"size$size-round$round[^\"]*\"" | tr -d '"' | sort -u | tail -n 1) || true
        [ -n "$name" ] || { echo "bench: lifeboat ls does not show size$size-round$round" >&2; exit 1; }
        measure "lifeboat-restore" env -i PATH="$PATH" HOME="$dir" "$lifeboat" restore "${name%%.*}" --data-dir "$dir/restored-lifeboat" \
            --name cp1 --initial-cluster "cp1=$peer" --initial-advertise-peer-urls "$peer" --config "$conf"
    done
    python3 - "$dir/results" "$actual" <<'PY'
import collections, statistics, sys
rows = collections.defaultdict(list)
for line in open(sys.argv[1]):
    name, seconds, kib = line.split()
    rows[name].append((float(seconds), int(kib)))
for name in ("etcdctl-snapshot-save", "lifeboat-save", "etcdutl-snapshot-restore", "lifeboat-restore"):
    seconds, kib = (statistics.median(column) for column in zip(*rows[name]))
    print(f"{sys.argv[2]:>8}  {name.replace('-', ' '):<24} {seconds:>10.2f} {kib / 1024:>12.1f}")
PY
    end "$etcd_pid" KILL
    rm -rf -- "$data" "$dir"/restored-* "$dir/ctl.db"
done
