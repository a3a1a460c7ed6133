# The units as this systemd reads them, with the program and the manual pages in place; not a word may be said about them.
cp -a "$TREE/." /
systemd-sysusers lifeboat.conf
said=$(SYSTEMD_LOG_LEVEL=info systemd-analyze verify /usr/lib/systemd/system/lifeboat*.{service,path} 2>&1) || true
[ -z "$said" ] || { echo "systemd-analyze verify: $said"; exit 1; }
for limit in lifeboat:25 lifeboat-bootstrap:50 lifeboat-credentials:50; do
    systemd-analyze security --offline=true --threshold="${limit#*:}" --no-pager "/usr/lib/systemd/system/${limit%:*}.service" >/tmp/security ||
        { cat /tmp/security; exit 1; }
    sed -n 's/^→ //p' /tmp/security | tr '\n' ' '
    echo "(at most ${limit#*:} tenths; $(systemd-analyze --version | head -n 1))"
done
journalctl --update-catalog
grep -o '^-- [0-9a-f]\{32\}' "$TREE/usr/lib/systemd/catalog/lifeboat.catalog" | while read -r _ id; do
    journalctl --dump-catalog "$id" | grep '^Defined-By: etcd-lifeboat' >/dev/null || { echo "journalctl does not know $id"; exit 1; }
done
systemctl preset lifeboat.service lifeboat-credentials.path
for unit in lifeboat.service lifeboat-credentials.path; do
    state=$(systemctl is-enabled "$unit") || true
    [ "$state" = disabled ] || [ "$unit:$state" = lifeboat-credentials.path:static ] || { echo "$unit is '$state' by default"; exit 1; }
done
