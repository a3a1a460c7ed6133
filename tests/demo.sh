#!/usr/bin/env bash
# The whole story on one machine: snapshots of a real etcd to a real S3 server, the host's disk lost, everything back.
#
# Runs in a temporary directory on free ports of 127.0.0.1, needs no root, and leaves nothing behind. Environment:
#   LIFEBOAT        the binary (default: target/debug/lifeboat)
#   LIFEBOAT_TOOLS  where tests/support/fetch-tools.sh put etcd and SeaweedFS
#   DEMO_KEEP=1     keep the directory, to look around in it
#   DEMO_KEYS       how many keys to write at first (default 3000)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly lifeboat=${LIFEBOAT:-${CARGO_TARGET_DIR:-$here/target}/debug/lifeboat}
readonly tools=${LIFEBOAT_TOOLS:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/etcd-lifeboat/tools}
readonly etcd=$tools/etcd-3.5.30
readonly keys=${DEMO_KEYS:-3000}

if [ -t 1 ]; then bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' off=$'\e[0m'; else bold='' green='' red='' dim='' off=''; fi
step=0
head() { step=$((step + 1)); printf '\n%s%d. %s%s\n' "$bold" "$step" "$1" "$off"; }
say() { printf '   %s\n' "$*"; }

checks=() failed=0
check() { # description command...
    local what=$1
    shift
    if "$@"; then
        checks+=("${green}PASS$off  $what")
        say "${green}ok$off: $what"
    else
        checks+=("${red}FAIL$off  $what")
        say "${red}NOT ok$off: $what"
        failed=1
    fi
}

# --- processes: everything started here ends here ----------------------------------------------------------------------

[ -x "$lifeboat" ] || { echo "demo: $lifeboat is not there; run: make demo" >&2; exit 1; }
for program in "$etcd/etcd" "$etcd/etcdctl" "$tools/weed"; do
    [ -x "$program" ] || { echo "demo: $program is not there; run: make tools" >&2; exit 1; }
done

dir=$(mktemp -d "${TMPDIR:-/tmp}/lifeboat-demo.XXXXXX")
pids=()
alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }
end() { # pid signal: ends one process of ours and waits for it
    alive "$1" || return 0
    kill -s "$2" "$1" 2>/dev/null || true
    local i
    for i in $(seq 150); do alive "$1" || break; sleep 0.1; done
    ! alive "$1" || kill -s KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}
weed_ports=()
finish() {
    local code=$? pid port
    trap - EXIT INT TERM
    for pid in "${pids[@]}"; do end "$pid" TERM; done
    for port in "${weed_ports[@]}"; do rm -f "/tmp/seaweedfs-"*"-grpc-$port.sock"; done
    local left=0
    for pid in "${pids[@]}"; do alive "$pid" && left=1; done
    if [ "$code" -ne 0 ] && [ ${#checks[@]} -gt 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
        checks+=("${red}FAIL$off  a step ended with code $code")
    fi
    if [ "$failed" -ne 0 ] || [ "$code" -ne 0 ]; then
        for log in "$dir"/*.log; do
            printf '\n--- the end of %s\n' "$(basename "$log")"
            tail -n 15 "$log" | cut -c1-300
        done
    fi
    if [ "${DEMO_KEEP:-}" = 1 ]; then echo "kept: $dir"; else rm -rf -- "$dir"; fi
    printf '\n%sSummary%s\n' "$bold" "$off"
    [ ${#checks[@]} -eq 0 ] || printf '   %s\n' "${checks[@]}"
    if [ "$left" -eq 0 ]; then echo "   nothing is left running"; else echo "   ${red}FAIL$off  a process is left running"; failed=1; fi
    [ "$code" -ne 0 ] || code=$failed
    if [ "$code" -eq 0 ]; then echo "${green}PASS$off after ${SECONDS} s"; else echo "${red}FAIL$off after ${SECONDS} s"; fi
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# `started` holds the process id.
start() { # name command...
    local name=$1
    shift
    env -i PATH="$PATH" HOME="$dir" TMPDIR="$dir" "$@" >>"$dir/$name.log" 2>&1 </dev/null &
    started=$!
    pids+=("$started")
}
wait_for() { # seconds what command...
    local limit=$1 what=$2 start=$SECONDS
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ $((SECONDS - start)) -ge "$limit" ]; then
            echo "demo: waited $limit s for: $what" >&2
            return 1
        fi
        sleep 0.2
    done
}

# Free ports below the range of outgoing connections.
read -r -a ports < <(python3 - <<'PY'
import random, socket
held = []
while len(held) < 10:
    s = socket.socket()
    try:
        s.bind(("127.0.0.1", random.randrange(12000, 20000)))
        held.append(s)
    except OSError:
        s.close()
print(*[s.getsockname()[1] for s in held])
PY
)
readonly client=http://127.0.0.1:${ports[0]} peer=http://127.0.0.1:${ports[1]} s3=127.0.0.1:${ports[8]}
readonly data=$dir/etcd conf=$dir/lifeboat.toml envfile=$dir/state/bootstrap/etcd.env

# --- the cast -----------------------------------------------------------------------------------------------------------

run() { # ARGS...: shows the command and runs lifeboat with our configuration
    printf '   %s$ lifeboat %s%s\n' "$dim" "$*" "$off"
    quiet "$@" 2>&1 | sed 's/^/   | /'
}
quiet() { env -i PATH="$PATH" HOME="$dir" "$lifeboat" "$@" --config "$conf"; }
ctl() { ETCDCTL_API=3 "$etcd/etcdctl" --endpoints="$client" "$@"; }

start_etcd() { # NAME=VALUE... from the environment file; a flag of the same meaning is then left out, etcd refuses both
    local args=() flag value variable
    while read -r flag value; do
        variable=ETCD_$(tr 'a-z-' 'A-Z_' <<<"$flag")
        [[ " $* " == *" $variable="* ]] || args+=("--$flag=$value")
    done <<FLAGS
name cp1
data-dir $data
listen-client-urls $client
advertise-client-urls $client
listen-peer-urls $peer
initial-advertise-peer-urls $peer
initial-cluster cp1=$peer
FLAGS
    start etcd "$@" "$etcd/etcd" "${args[@]}"
    etcd_pid=$started
    wait_for 30 "etcd at $client to be healthy" ctl endpoint health
}

write_keys() { # from to label: a hundred puts in a transaction
    local at
    for ((at = $1; at < $2; at += 100)); do
        { echo; for ((i = at; i < at + 100 && i < $2; i++)); do echo "put demo/$3/key-$i \"value $i of $3, $RANDOM$RANDOM\""; done; printf '\n\n'; } |
            ctl txn >/dev/null
    done
}

# Every key with all that etcd says of it, one a line, sorted.
dump() { # file
    ctl get demo/ --prefix -w json | python3 -c '
import json, sys
for kv in sorted(json.load(sys.stdin).get("kvs", []), key=lambda kv: kv["key"]):
    print(kv["key"], kv.get("value", ""), kv["create_revision"], kv["mod_revision"], kv["version"], kv.get("lease", 0))' >"$1"
    say "$(wc -l <"$1") keys, digest $(sha256sum <"$1" | cut -c1-16)... (key, value, create and mod revision, version, lease)"
}
revision() { ctl endpoint status -w json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["Status"]["header"]["revision"])'; }

# Whether a snapshot whose name begins with $1 holds revision $2.
stored() {
    quiet ls -o json | python3 -c '
import json, sys
def snapshots(x):
    if isinstance(x, dict):
        if "revision" in x and "name" in x: yield x
        for v in x.values(): yield from snapshots(v)
    elif isinstance(x, list):
        for v in x: yield from snapshots(v)
ok = any(s["name"].startswith(sys.argv[1]) and int(s["revision"]) >= int(sys.argv[2]) for s in snapshots(json.load(sys.stdin)))
sys.exit(0 if ok else 1)' "$1" "$2"
}

# --- the story ----------------------------------------------------------------------------------------------------------

printf '%setcd-lifeboat: a lost control plane comes back%s\n' "$bold" "$off"
say "everything happens in $dir"

head "A configuration and a cluster token"
mkdir -p "$dir/state/bootstrap" "$dir/weed"
( umask 077
    od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$dir/token"
    printf 'DEMOACCESSKEY' >"$dir/access-key"
    od -An -tx1 -N20 /dev/urandom | tr -d ' \n' >"$dir/secret-key" )
cat >"$conf" <<TOML
[cluster]
name = "demo"
token_file = "$dir/token"
members = [{ name = "cp1", peer_urls = ["$peer"], client_urls = ["$client"] }]

[node]
name = "cp1"
state_dir = "$dir/state"

[etcd]
data_dir = "$data"
endpoint = "$client"
environment_file = "$envfile"

[store]
backend = "s3"

[store.s3]
endpoint = "$s3"
bucket = "snapshots"
folder = "demo"
insecure = true
access_key_file = "$dir/access-key"
secret_key_file = "$dir/secret-key"

[[schedule]]
name = "etcd-snapshot"
cron = "@every 5s"
jitter = "0s"

[bootstrap]
state_dir = "$dir/state/bootstrap"
request_file = "$dir/restore-once"
TOML
sed 's/^/   | /' "$conf"
run config check

head "A real etcd 3.5.30 and a real S3 server (SeaweedFS)"
python3 - "$dir" <<'PY'
import json, sys
dir = sys.argv[1]
read = lambda name: open(f"{dir}/{name}").read()
json.dump({"identities": [{"name": "demo", "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    "credentials": [{"accessKey": read("access-key"), "secretKey": read("secret-key")}]}]}, open(f"{dir}/s3.json", "w"))
PY
chmod 600 "$dir/s3.json"
weed_ports=("${ports[3]}" "${ports[5]}" "${ports[7]}" "${ports[9]}")
start weed "$tools/weed" server -dir="$dir/weed" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.port="${ports[2]}" -master.port.grpc="${ports[3]}" -master.telemetry=false -master.volumeSizeLimitMB=1024 \
    -volume.port="${ports[4]}" -volume.port.grpc="${ports[5]}" -volume.max=20 \
    -filer -filer.port="${ports[6]}" -filer.port.grpc="${ports[7]}" -filer.localSocket="$dir/filer.sock" \
    -s3 -s3.port="${ports[8]}" -s3.port.grpc="${ports[9]}" -s3.localSocket="$dir/s3.sock" -s3.config="$dir/s3.json" \
    -s3.port.iceberg=0 -s3.port.lance=0
start_etcd
say "etcd $client, data dir $data"
# Until the filer is up the shell fails, and says so only in its text.
make_bucket() {
    echo "s3.bucket.create -name snapshots" | env -i PATH="$PATH" HOME="$dir" "$tools/weed" shell \
        -master="127.0.0.1:${ports[2]}.${ports[3]}" -filer="127.0.0.1:${ports[6]}.${ports[7]}" >"$dir/bucket.log" 2>&1
    echo "s3.bucket.list" | env -i PATH="$PATH" HOME="$dir" "$tools/weed" shell \
        -master="127.0.0.1:${ports[2]}.${ports[3]}" -filer="127.0.0.1:${ports[6]}.${ports[7]}" 2>/dev/null | grep -q snapshots
}
wait_for 60 "SeaweedFS to have a bucket" make_bucket
s3_answers() { python3 -c 'import sys, urllib.error, urllib.request
try: urllib.request.urlopen(sys.argv[1], timeout=2)
except urllib.error.HTTPError as e: sys.exit(0 if e.code == 403 else 1)' "http://$s3/"; }
wait_for 60 "S3 at $s3 to answer" s3_answers
say "S3   http://$s3, bucket snapshots; it refuses requests that are not signed"

head "Some data"
write_keys 0 "$keys" first
dump "$dir/first.txt"

head "The agent, with a snapshot every five seconds"
start agent "$lifeboat" agent --config "$conf"
agent_pid=$started
wanted=$(revision)
check "a scheduled snapshot of revision $wanted arrived in the bucket" wait_for 60 "a scheduled snapshot" stored etcd-snapshot "$wanted"
run ls

head "An on-demand snapshot, before something risky"
run save --name before-upgrade
check "it is in the bucket" stored before-upgrade "$wanted"

head "More data, and the next scheduled snapshot"
write_keys 0 500 second
ctl del demo/first/key-7 >/dev/null
dump "$dir/before.txt"
wanted=$(revision)
check "a scheduled snapshot of revision $wanted arrived" wait_for 60 "the next scheduled snapshot" stored etcd-snapshot "$wanted"
run verify latest

head "Disaster: the agent is stopped, etcd is killed, its disk is gone"
end "$agent_pid" TERM
check "the agent ended at SIGTERM" bash -c "! kill -0 $agent_pid 2>/dev/null"
end "$etcd_pid" KILL
rm -rf -- "$data"
check "the data dir is gone" test ! -e "$data"

head "Boot: lifeboat decides before etcd may start"
run bootstrap --dry-run
check "the dry run changed nothing" test ! -e "$data/member"
check "lifeboat bootstrap restored the snapshot (exit code 0: etcd may start)" run bootstrap --deadline 90s
check "the data dir is back" test -d "$data/member"

head "etcd starts from what was restored"
environment=()
while IFS= read -r line; do
    [[ $line == ETCD_*=* ]] || continue
    name=${line%%=*} value=${line#*=}
    value=${value#[\"\']} value=${value%[\"\']}
    environment+=("$name=$value")
    say "$envfile: $name=$value"
done < <(cat "$envfile" 2>/dev/null)
check "the environment file keeps a wiped etcd from forming an empty cluster" grep -q 'ETCD_INITIAL_CLUSTER_STATE=.*existing' "$envfile"
start_etcd "${environment[@]}"
dump "$dir/after.txt"
check "every key is back, with its revisions" cmp "$dir/before.txt" "$dir/after.txt"
check "etcd takes writes" ctl put demo/third written

head "The next boot: nothing to do"
quiet bootstrap --deadline 60s >"$dir/second-bootstrap.log" 2>&1 && code=0 || code=$?
sed 's/^/   | /' "$dir/second-bootstrap.log"
check "a second lifeboat bootstrap says Start, and exits with 0" \
    bash -c "[ $code -eq 0 ] && grep -qiE 'D[07]\b|start' '$dir/second-bootstrap.log'"
dump "$dir/last.txt"
check "it changed nothing" bash -c "diff '$dir/after.txt' '$dir/last.txt' | grep -c '^[<>]' | grep -qx 1"
