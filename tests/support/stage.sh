# Sourced by demo.sh and bench.sh: a temporary directory, processes that end with the script, etcd and SeaweedFS on
# free ports of 127.0.0.1. The caller sets `stage_name` and may define `at_end`, called with the exit code; what it
# prints comes after everything has been stopped, and what it returns is the exit code.
# shellcheck shell=bash

stage_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly tools=${LIFEBOAT_TOOLS:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/etcd-lifeboat/tools}
readonly etcd=$tools/etcd-3.5.30
for program in "$etcd/etcd" "$etcd/etcdctl" "$etcd/etcdutl" "$tools/weed"; do
    [ -x "$program" ] || { echo "$stage_name: $program is not there; run: make tools" >&2; exit 1; }
done

dir=$(mktemp -d)
pids=() weed_ports=()

alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

end() { # pid signal: ends one process of ours and waits for it
    alive "$1" || return 0
    kill -s "$2" "$1" 2>/dev/null || true
    local i
    for i in $(seq 150); do alive "$1" || break; sleep 0.1; done
    ! alive "$1" || kill -s KILL "$1" 2>/dev/null || true
}

stage_finish() {
    local code=$? pid port left=0
    trap - EXIT INT TERM
    for pid in "${pids[@]}"; do end "$pid" KILL; done 2>/dev/null
    for port in "${weed_ports[@]}"; do rm -f "/tmp/seaweedfs-"*"-grpc-$port.sock"; done
    for pid in "${pids[@]}"; do alive "$pid" && left=1; done
    if declare -F at_end >/dev/null; then at_end "$code" "$left" || code=$?; fi
    if [ "${STAGE_KEEP:-}" = 1 ]; then echo "kept: $dir"; else rm -rf -- "$dir"; fi
    [ "$left" -eq 0 ] || { echo "$stage_name: a process is left running" >&2; code=1; }
    exit "$code"
}
trap stage_finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start() { # name command...: in the background with a clean environment; `started` holds the process id
    local name=$1
    shift
    env -i PATH="$PATH" HOME="$dir" TMPDIR="$dir" "$@" >>"$dir/$name.log" 2>&1 </dev/null &
    started=$!
    pids+=("$started")
    # No longer a job: the shell would report its end.
    disown "$started"
}

wait_for() { # seconds what command...
    local limit=$1 what=$2 start=$SECONDS
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ $((SECONDS - start)) -ge "$limit" ]; then
            echo "$stage_name: waited $limit s for: $what" >&2
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

ctl() { ETCDCTL_API=3 "$etcd/etcdctl" --endpoints="$client" "$@"; }
lb() { env -i PATH="$PATH" HOME="$dir" "$lifeboat" "$@" --config "$conf"; }

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
quota-backend-bytes 8589934592
FLAGS
    start etcd "$@" "$etcd/etcd" "${args[@]}"
    etcd_pid=$started
    wait_for 120 "etcd at $client to be healthy" ctl endpoint health
}

weed_shell() {
    env -i PATH="$PATH" HOME="$dir" "$tools/weed" shell \
        -master="127.0.0.1:${ports[2]}.${ports[3]}" -filer="127.0.0.1:${ports[6]}.${ports[7]}" 2>&1 <<<"$1"
}
has_bucket() {
    weed_shell "s3.bucket.create -name snapshots" || true
    weed_shell "s3.bucket.list" | grep -q snapshots
}
s3_answers() {
    python3 -c 'import sys, urllib.error, urllib.request
try: urllib.request.urlopen(sys.argv[1], timeout=2)
except urllib.error.HTTPError as e: sys.exit(0 if e.code == 403 else 1)' "http://$s3/"
}

# Needs the files that write_configuration makes. Its data are in $weed_data, if that is set.
start_weed() {
    python3 - "$dir" <<'PY'
import json, sys
dir = sys.argv[1]
read = lambda name: open(f"{dir}/{name}").read()
json.dump({"identities": [{"name": "stage", "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    "credentials": [{"accessKey": read("access-key"), "secretKey": read("secret-key")}]}]}, open(f"{dir}/s3.json", "w"))
PY
    local weed_dir=${weed_data:-$dir/weed}
    mkdir -p "$weed_dir"
    weed_ports=("${ports[3]}" "${ports[5]}" "${ports[7]}" "${ports[9]}")
    start weed "$tools/weed" server -dir="$weed_dir" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
        -master.port="${ports[2]}" -master.port.grpc="${ports[3]}" -master.telemetry=false -master.volumeSizeLimitMB=1024 \
        -volume.port="${ports[4]}" -volume.port.grpc="${ports[5]}" -volume.max=20 \
        -filer -filer.port="${ports[6]}" -filer.port.grpc="${ports[7]}" -filer.localSocket="$dir/filer.sock" \
        -s3 -s3.port="${ports[8]}" -s3.port.grpc="${ports[9]}" -s3.localSocket="$dir/s3.sock" -s3.config="$dir/s3.json" \
        -s3.port.iceberg=0 -s3.port.lance=0
    wait_for 60 "SeaweedFS to have a bucket" has_bucket
    wait_for 60 "S3 at $s3 to answer" s3_answers
}

write_configuration() { # cluster name, further lines
    mkdir -p "$dir/state/bootstrap"
    (
        umask 077
        od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$dir/token"
        printf 'STAGEACCESSKEY' >"$dir/access-key"
        od -An -tx1 -N20 /dev/urandom | tr -d ' \n' >"$dir/secret-key"
        : >"$dir/s3.json"
    )
    cat >"$conf" <<TOML
[cluster]
name = "$1"
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
folder = "$1"
insecure = true
access_key_file = "$dir/access-key"
secret_key_file = "$dir/secret-key"

[bootstrap]
state_dir = "$dir/state/bootstrap"
request_file = "$dir/restore-once"

$2
TOML
}
