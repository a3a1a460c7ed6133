#!/usr/bin/env bash
# Lays out the files of both packages, each at its place and with its mode: packaging/stage.sh BINARY TREE
#
# The one list of what is packed. The .deb takes the tree through the assets of Cargo.toml, the .rpm through lifeboat.spec; a file that one
# of them does not name is an error of its build or of 'make packages-check'.
set -euo pipefail
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly BINARY=${1:?BINARY} TREE=${2:?TREE}

put() { # mode target source...
    local mode=$1 target=$2
    shift 2
    install -D -p -m "$mode" -t "$TREE/$target" "$@"
}

rm -rf -- "$TREE"
put 755 usr/bin "$BINARY"
put 644 usr/lib/systemd/system systemd/*.service systemd/*.path
put 644 usr/lib/systemd/system-preset packaging/preset/90-lifeboat.preset
put 644 usr/lib/sysusers.d packaging/sysusers.d/lifeboat.conf
put 644 usr/lib/tmpfiles.d packaging/tmpfiles.d/lifeboat.conf
install -d -m 750 "$TREE/etc/lifeboat" "$TREE/etc/lifeboat/conf.d"
put 640 etc/lifeboat config/lifeboat.toml
