# lintian and rpmlint find nothing but what is overridden with a reason.
lintian --allow-root --fail-on error,warning "$DEB"
rpmlint --strict --config /project/packaging/rpm/rpmlint.toml "$RPM" >/tmp/rpmlint 2>&1 || { cat /tmp/rpmlint; exit 1; }
lintian --allow-root --show-overrides "$DEB" | sed -n 's/^O: /lintian, overridden: /p'
tail -n 2 /tmp/rpmlint | sed -n 's/^ */rpmlint: /p'
