#!/usr/bin/env bash
# The root file systems of the lab's hosts, cached outside of the repository.
#
#   rootfs.sh prerequisites   installs on this machine what the lab needs of it, where it is missing
#   rootfs.sh SUITE           bookworm, trixie, or rpm (trixie with rpm and dnf); prints the path of its root directory
#
# May be run as often as you like and by several at once. Root, or sudo for the packages. Environment:
#   LIFEBOAT_LAB_CACHE      where they go (default: ${XDG_CACHE_HOME:-~/.cache}/etcd-lifeboat/lab)
#   LIFEBOAT_DEBIAN_MIRROR  base URI of a Debian archive (default: the one that this machine's apt uses)
set -euo pipefail

readonly CACHE=${LIFEBOAT_LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/etcd-lifeboat/lab}
# What every host has: systemd, etcd, and what the package and the stories use. There is no network to an archive inside.
readonly PACKAGES=systemd,systemd-sysv,dbus,libpam-systemd,iproute2,procps,kmod,nftables,ca-certificates,etcd-server,etcd-client,adduser,sudo,curl,openssl,zstd
# A new number builds them again although the list is the same.
readonly RECIPE=1

# shellcheck source=tests/support/debian.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/debian.sh"

work=
die() {
    printf 'lab: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf '  hint: %s\n' "$2" >&2
    exit 1
}
cleanup() { [ -z "$work" ] || rm -rf --one-file-system -- "$work"; }
trap cleanup EXIT

prerequisites() {
    local missing=()
    command -v systemd-nspawn >/dev/null || missing+=(systemd-container)
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
    command -v nft >/dev/null || [ -x /usr/sbin/nft ] || missing+=(nftables)
    command -v ip >/dev/null || [ -x /usr/sbin/ip ] || missing+=(iproute2)
    command -v mkfs.ext4 >/dev/null || [ -x /usr/sbin/mkfs.ext4 ] || missing+=(e2fsprogs)
    command -v curl >/dev/null || missing+=(curl)
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
    [ ${#missing[@]} -gt 0 ] || return 0
    install_packages "$work/apt.log" "${missing[@]}"
    echo "lab: installed ${missing[*]}" >&2
}

# What changes in a fresh tree: etcd waits to be configured, nothing asks an archive for updates, journals survive.
customise() { # tree
    local tree=$1 unit
    rm -f "$tree"/etc/systemd/system/{multi-user.target.wants/etcd.service,etcd2.service}
    for unit in apt-daily.timer apt-daily-upgrade.timer fstrim.timer dpkg-db-backup.timer e2scrub_all.timer; do
        ln -sf /dev/null "$tree/etc/systemd/system/$unit"
    done
    mkdir -p "$tree/var/log/journal"
    # Each host gets a machine id of its own; a file that is there and empty is filled at boot.
    : >"$tree/etc/machine-id"
    rm -f "$tree/etc/hostname" "$tree/etc/resolv.conf" "$tree/var/lib/dbus/machine-id"
    [ ! -e "$tree/etc/systemd/system/multi-user.target.wants/etcd.service" ]
}

build() { # suite
    local name=$1 suite=$1 packages=$PACKAGES key final start=$SECONDS
    if [ "$name" = rpm ]; then
        suite=trixie
        packages+=,rpm,dnf,createrepo-c
    fi
    key=$(printf '%s\n' "$name" "$suite" "$packages" "$RECIPE" | sha256sum | cut -c 1-12)
    final=$CACHE/rootfs/$name-$key
    if [ ! -e "$final/etc/os-release" ]; then
        [ "$(id -u)" -eq 0 ] || die "the root file system of $name is built as root" "make lab"
        mmdebstrap --quiet --variant=minbase --include="$packages" "$suite" "$work/tree" "$(debian_mirror)" >"$work/log" 2>&1 || {
            tail -n 20 "$work/log" >&2
            die "mmdebstrap could not build a root file system of Debian $suite" \
                "is the archive reachable, and does it carry $suite? LIFEBOAT_DEBIAN_MIRROR overrides it"
        }
        customise "$work/tree"
        mv -T -- "$work/tree" "$final"
        echo "lab: built the root file system of $name in $((SECONDS - start)) s, $(du -sh "$final" | cut -f 1): $final" >&2
    fi
    echo "$final"
}

main() {
    [ $# -eq 1 ] || die "usage: $0 prerequisites|bookworm|trixie|rpm"
    mkdir -p "$CACHE/rootfs" || die "cannot create $CACHE" "set LIFEBOAT_LAB_CACHE to a directory that you may write to"
    exec 9>"$CACHE/.lock"
    flock --wait 1800 9 || die "another rootfs.sh has held $CACHE/.lock for half an hour"
    work=$(mktemp -d --tmpdir="$CACHE")
    chmod 755 "$work"
    case $1 in
        prerequisites) prerequisites ;;
        bookworm | trixie | rpm) build "$1" ;;
        *) die "there is no suite '$1'" "bookworm, trixie or rpm" ;;
    esac
}

main "$@"
