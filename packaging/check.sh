#!/usr/bin/env bash
# Checks both packages inside of the tools root: packaging/check.sh OUT, where OUT holds debian/, rpm/ and package/tree
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly OUT=${1:?OUT}

one() { # suffix files...
    [ $# -eq 2 ] && [ -e "$2" ] || { echo "check: expected one $1, found: ${*:2}; remove the others and make them again" >&2; exit 1; }
    echo "/out/${2#"$OUT"/}"
}
deb=$(one .deb "$OUT"/debian/*.deb)
rpm=$(one .rpm "$OUT"/rpm/*.rpm)
# The same, a version later and with another configuration, for upgrades.
rm -rf "$OUT/package/later"
mkdir -p "$OUT/package/later/tree"
cp -a "$OUT/package/tree/." "$OUT/package/later/tree/"
echo '# of a later version' >>"$OUT/package/later/tree/etc/lifeboat/lifeboat.toml"
packaging/tools-root.sh run "$OUT" /project/packaging/rpm/build.sh 99 /out/package/later/tree /out/package/later
rm -r "$OUT/package/later/tree"

# Each in a root of its own.
passed=0 failed=0 code=0
for check in ${CHECKS:-lint units programs payload deb rpm}; do
    start=$SECONDS
    packaging/tools-root.sh run "$OUT" env DEB="$deb" RPM="$rpm" LATER=/out/package/later/etcd-lifeboat-99-1.x86_64.rpm TREE=/out/package/tree \
        bash -c "cd /project/packaging/checks && exec bash -euo pipefail ./$check.sh" && code=0 || code=$?
    if [ "$code" -eq 0 ]; then
        passed=$((passed + 1))
        printf '%-9s passed in %s s\n' "$check" $((SECONDS - start))
    else
        failed=$((failed + 1))
        printf '%-9s FAILED (exit code %s)\n' "$check" "$code"
    fi
done
echo "packages: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
