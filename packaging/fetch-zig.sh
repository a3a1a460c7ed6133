#!/usr/bin/env bash
# Fetches zig and cargo-zigbuild, which link the packaged binary against an older C library than this machine's; prints their directory.
#
#   LIFEBOAT_TOOLS   where they go (default: ${XDG_CACHE_HOME:-~/.cache}/etcd-lifeboat/tools)
set -euo pipefail

readonly ZIG=0.15.2 ZIGBUILD=0.24.0
readonly TOOLS=${LIFEBOAT_TOOLS:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/etcd-lifeboat/tools}
readonly FINAL=$TOOLS/zig-$ZIG-$ZIGBUILD

good() { [ "$("$FINAL/ziglang/zig" version 2>/dev/null)" = "$ZIG" ] && [ "$("$FINAL/bin/cargo-zigbuild" --version 2>/dev/null)" = "cargo-zigbuild $ZIGBUILD" ]; }

mkdir -p "$TOOLS"
exec 9>"$TOOLS/.zig.lock"
flock --wait 900 9
if ! good; then
    work=$(mktemp -d --tmpdir="$TOOLS")
    # shellcheck disable=SC2064
    trap "rm -rf -- '$work'" EXIT
    python3 -m pip install --quiet --no-deps --only-binary :all: --disable-pip-version-check --no-compile --root-user-action=ignore \
        --target "$work/new" "ziglang==$ZIG" "cargo-zigbuild==$ZIGBUILD" >"$work/log" 2>&1 || {
        tail -n 20 "$work/log" >&2
        echo "fetch-zig: pip could not fetch ziglang $ZIG and cargo-zigbuild $ZIGBUILD" >&2
        exit 1
    }
    rm -rf "$FINAL"
    mv -T -- "$work/new" "$FINAL"
    good || { echo "fetch-zig: zig does not run here: $("$FINAL/ziglang/zig" version 2>&1 | head -n 3)" >&2; exit 1; }
fi
echo "$FINAL"
