#!/usr/bin/env bash
# The whole story on one machine: snapshots of a real etcd to a real S3 server, the host's disk lost, everything back.
#
# Runs in a temporary directory on free ports of 127.0.0.1, needs no root, and leaves nothing behind. Environment:
#   LIFEBOAT        the binary (default: target/debug/lifeboat)
#   LIFEBOAT_TOOLS  where tests/support/fetch-tools.sh put etcd and SeaweedFS
#   STAGE_KEEP=1    keep the directory, to look around in it
#   DEMO_KEYS       how many keys to write at first (default 3000)
set -euo pipefail

stage_name=demo
# shellcheck source=support/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/support/stage.sh"
readonly lifeboat=${LIFEBOAT:-${CARGO_TARGET_DIR:-$stage_root/target}/debug/lifeboat}
[ -x "$lifeboat" ] || { echo "demo: $lifeboat is not there; run: make demo" >&2; exit 1; }
readonly keys=${DEMO_KEYS:-3000}

if [ -t 1 ]; then bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' off=$'\e[0m'; else bold='' green='' red='' dim='' off=''; fi
step=0
heading() { step=$((step + 1)); printf '\n%s%d. %s%s\n' "$bold" "$step" "$1" "$off"; }
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

at_end() { # code left
    local code=$1 log
    if [ "$code" -ne 0 ]; then
        failed=1
        checks+=("${red}FAIL$off  a step ended with code $code")
    fi
    [ "$2" -eq 0 ] && checks+=("${green}PASS$off  nothing is left running") || checks+=("${red}FAIL$off  a process is left running")
    if [ "$failed" -ne 0 ]; then
        for log in "$dir"/*.log; do
            printf '\n--- the end of %s\n' "$(basename "$log")"
            tail -n 15 "$log" | cut -c1-300
        done
    fi
    printf '\n%sSummary%s\n' "$bold" "$off"
    printf '   %s\n' "${checks[@]}"
    if [ "$failed" -eq 0 ]; then
        echo "${green}PASS$off after ${SECONDS} s"
    else
        echo "${red}FAIL$off after ${SECONDS} s"
        return 1
    fi
}

# --- the cast -----------------------------------------------------------------------------------------------------------

run() { # ARGS...: shows the command and runs lifeboat with our configuration
    printf '   %s$ lifeboat %s%s\n' "$dim" "$*" "$off"
    lb "$@" 2>&1 | sed 's/^/   | /'
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
    lb ls -o json | python3 -c '
import json, sys
def snapshots(x):
    if isinstance(x, dict):
        if "revision" in x and "name" in x: yield x
        for v in x.values(): yield from snapshots(v)
    elif isinstance(x, list):
        for v in x: yield from snapshots(v)
try: listing = json.load(sys.stdin)
except ValueError: sys.exit(1)
ok = any(s["name"].startswith(sys.argv[1]) and int(s["revision"]) >= int(sys.argv[2]) for s in snapshots(listing))
sys.exit(0 if ok else 1)' "$1" "$2"
}

# --- the story ----------------------------------------------------------------------------------------------------------

printf '%setcd-lifeboat: a lost control plane comes back%s\n' "$bold" "$off"
say "everything happens in $dir"

heading "A configuration and a cluster token"
write_configuration demo '[[schedule]]
name = "etcd-snapshot"
cron = "@every 5s"
jitter = "0s"'
sed 's/^/   | /' "$conf"
run config check

heading "A real etcd 3.5.30 and a real S3 server (SeaweedFS)"
start_weed
start_etcd
say "etcd $client, data dir $data"
say "S3   http://$s3, bucket snapshots; it refuses requests that are not signed"

heading "Some data"
write_keys 0 "$keys" first
dump "$dir/first.txt"

heading "The agent, with a snapshot every five seconds"
start agent "$lifeboat" agent --config "$conf"
agent_pid=$started
wanted=$(revision)
check "a scheduled snapshot of revision $wanted arrived in the bucket" wait_for 60 "a scheduled snapshot" stored etcd-snapshot "$wanted"
run ls

heading "An on-demand snapshot, before something risky"
run save --name before-upgrade
check "it is in the bucket" stored before-upgrade "$wanted"

heading "More data, and the next scheduled snapshot"
write_keys 0 500 second
ctl del demo/first/key-7 >/dev/null
dump "$dir/before.txt"
wanted=$(revision)
check "a scheduled snapshot of revision $wanted arrived" wait_for 60 "the next scheduled snapshot" stored etcd-snapshot "$wanted"
run verify latest

heading "Disaster: the agent is stopped, etcd is killed, its disk is gone"
end "$agent_pid" TERM
check "the agent ended at SIGTERM" bash -c "! kill -0 $agent_pid 2>/dev/null"
end "$etcd_pid" KILL
rm -rf -- "$data"
check "the data dir is gone" test ! -e "$data"

heading "Boot: lifeboat decides before etcd may start"
run bootstrap --dry-run
check "the dry run changed nothing" test ! -e "$data/member"
check "lifeboat bootstrap restored the snapshot (exit code 0: etcd may start)" run bootstrap --deadline 90s
check "the data dir is back" test -d "$data/member"

heading "etcd starts from what was restored"
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

heading "The next boot: nothing to do"
dump "$dir/after.txt"
lb bootstrap --deadline 60s >"$dir/second-bootstrap.log" 2>&1 && code=0 || code=$?
sed 's/^/   | /' "$dir/second-bootstrap.log"
check "a second lifeboat bootstrap lets etcd start" test "$code" -eq 0
check "by rule D0 or D7: there is data, nothing is restored" grep -qwE 'D0|D7' "$dir/second-bootstrap.log"
dump "$dir/last.txt"
check "it changed nothing" cmp "$dir/after.txt" "$dir/last.txt"
