#!/usr/bin/env bash
# The root file system in which packages are built and checked: Debian trixie with rpm, dnf, lintian and rpmlint. Nothing of it is installed on
# this machine.
#
#   tools-root.sh make                    builds it when it is missing; prints its path
#   tools-root.sh run OUT COMMAND...      runs a command in it, as root, without a network: what it changes is gone afterwards.
#                                         /project is this project (read-only), /out is the directory OUT
#
# Root is needed. Environment:
#   LIFEBOAT_TOOLS          where it goes (default: ${XDG_CACHE_HOME:-~/.cache}/etcd-lifeboat/tools)
#   LIFEBOAT_DEBIAN_MIRROR  base URI of a Debian archive (default: the one that this machine's apt uses)
set -euo pipefail

readonly TOOLS=${LIFEBOAT_TOOLS:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/etcd-lifeboat/tools}
readonly SUITE=trixie
readonly PACKAGES=systemd,ca-certificates,rpm,dnf,createrepo-c,cpio,lintian,rpmlint,man-db,zstd,zsh
PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
KEY=$(printf '%s\n' "$SUITE" "$PACKAGES" | sha256sum | cut -c 1-12)
readonly PROJECT KEY
readonly ROOT=$TOOLS/package-root-$KEY

# shellcheck source=tests/support/debian.sh
. "$PROJECT/tests/support/debian.sh"

die() {
    printf 'tools-root: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf '  hint: %s\n' "$2" >&2
    exit 1
}

build() {
    local work start=$SECONDS
    mkdir -p "$TOOLS"
    exec 9>"$TOOLS/.package-root.lock"
    flock --wait 900 9 || die "another tools-root.sh has held $TOOLS/.package-root.lock for 15 minutes"
    [ ! -e "$ROOT/etc/os-release" ] || return 0
    work=$(mktemp -d --tmpdir="$TOOLS")
    # shellcheck disable=SC2064
    trap "rm -rf --one-file-system -- '$work'" EXIT
    chmod 755 "$work"
    command -v mmdebstrap >/dev/null || install_packages "$work/apt.log" mmdebstrap
    mmdebstrap --quiet --variant=minbase --include="$PACKAGES" --dpkgopt='path-exclude=/usr/share/locale/*' \
        "$SUITE" "$work/tree" "$(debian_mirror)" >"$work/log" 2>&1 || {
        tail -n 20 "$work/log" >&2
        die "mmdebstrap could not build a root file system of Debian $SUITE" \
            "is the archive reachable, and does it carry $SUITE? LIFEBOAT_DEBIAN_MIRROR overrides it"
    }
    mv -T -- "$work/tree" "$ROOT"
    echo "tools-root: built in $((SECONDS - start)) s, $(du -sh "$ROOT" | cut -f 1): $ROOT" >&2
}

# In a mount namespace of its own: an overlay whose upper half is memory.
enter() { # out command...
    local out=$1
    shift
    mount -t tmpfs tmpfs "$TOOLS/.package-root.mnt"
    cd "$TOOLS/.package-root.mnt"
    mkdir upper work root
    mount -t overlay -o "lowerdir=$ROOT,upperdir=upper,workdir=work" overlay root
    cd root
    mkdir project out
    mount --bind "$PROJECT" project
    mount -o remount,bind,ro project
    mount --bind "$out" out
    mount -t proc proc proc
    mount --rbind /dev dev
    mount -t tmpfs tmpfs run
    mount -t tmpfs tmpfs tmp
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8 ${SOURCE_DATE_EPOCH:+SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH"} chroot . /bin/sh -c 'cd / && exec "$@"' sh "$@"
}

[ "$(id -u)" -eq 0 ] || die "this is done as root" "sudo make packages-check"
case ${1:-} in
    make)
        (build)
        echo "$ROOT"
        ;;
    run)
        [ $# -ge 3 ] || die "usage: $0 run OUT COMMAND..."
        (build)
        mkdir -p "$TOOLS/.package-root.mnt"
        out=$(cd "$2" && pwd)
        shift 2
        exec unshare --mount --pid --net --fork --kill-child "${BASH_SOURCE[0]}" enter "$out" "$@"
        ;;
    enter)
        shift
        enter "$@"
        ;;
    *) die "usage: $0 make | run OUT COMMAND..." ;;
esac
