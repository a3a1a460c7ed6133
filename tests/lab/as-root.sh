#!/usr/bin/env bash
# Runs a program as root with the variables of the lab: containers and namespaces need it, the build does not.
set -euo pipefail
[ "$(id -u)" -ne 0 ] || exec "$@"
sudo -n true 2>/dev/null || {
    echo "lab: you are not root, and sudo wants a password or is not there" >&2
    echo "  hint: run 'make lab' as root" >&2
    exit 1
}
kept=("PATH=$PATH" "HOME=$HOME")
for name in LIFEBOAT_TOOLS LIFEBOAT_LAB_CACHE LIFEBOAT_DEBIAN_MIRROR LIFEBOAT_DEB LAB_KEEP RUST_BACKTRACE; do
    [ -z "${!name:-}" ] || kept+=("$name=${!name}")
done
exec sudo -n env "${kept[@]}" "$@"
