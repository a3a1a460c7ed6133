#!/usr/bin/env bash
# Lays out the files of both packages, each at its place and with its mode: packaging/stage.sh BINARY TREE [PROGRAM]
#
# The one list of what is packed. The .deb takes the tree through the assets of Cargo.toml, the .rpm through lifeboat.spec; a file that one
# of them leaves out is found by its build or by 'make packages-check'. PROGRAM runs here and writes manual pages and completions
# (default: BINARY; another one when BINARY is for another processor).
set -euo pipefail
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly BINARY=${1:?BINARY} TREE=${2:?TREE} PROGRAM=${3:-$1}

put() { # mode target-directory source...
    local mode=$1 target=$2
    shift 2
    install -D -p -m "$mode" -t "$TREE/$target" "$@"
}

rm -rf -- "$TREE"
install -D -m 755 "$BINARY" "$TREE/usr/bin/lifeboat"
put 644 usr/lib/systemd/system systemd/*.service systemd/*.path
put 644 usr/lib/systemd/system-preset packaging/preset/90-lifeboat.preset
put 644 usr/lib/systemd/catalog packaging/catalog/lifeboat.catalog
put 644 usr/lib/sysusers.d packaging/sysusers.d/lifeboat.conf
put 644 usr/lib/tmpfiles.d packaging/tmpfiles.d/lifeboat.conf
install -d -m 750 "$TREE/etc/lifeboat" "$TREE/etc/lifeboat/conf.d"
put 640 etc/lifeboat config/lifeboat.toml
put 644 usr/share/doc/etcd-lifeboat README.md

# The environment of who builds is no part of a page.
run() { env -i "$PROGRAM" "$@"; }
run man --dir "$TREE/man"
for page in "$TREE"/man/*; do
    gzip -9n "$page"
    put 644 "usr/share/man/man${page##*.}" "$page.gz"
done
rm -r "$TREE/man"

install -d "$TREE"/usr/share/{bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
run completions bash >"$TREE/usr/share/bash-completion/completions/lifeboat"
run completions zsh >"$TREE/usr/share/zsh/vendor-completions/_lifeboat"
run completions fish >"$TREE/usr/share/fish/vendor_completions.d/lifeboat.fish"

# Debian's changelog. What changed is told in one place.
VERSION=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
cat >"$TREE/../changelog" <<CHANGES
etcd-lifeboat ($VERSION-1) unstable; urgency=medium

  * What changed in each version is in CHANGELOG.md of the sources.

 -- etcd-lifeboat maintainers <etcd-lifeboat@localhost>  $(LC_ALL=C date -u -R -d "@${SOURCE_DATE_EPOCH:-$(stat -c %Y CHANGELOG.md)}")
CHANGES
