# The .deb comes, is upgraded, goes and is purged.
. ./host.sh
export DEBIAN_FRONTEND=noninteractive
pretend_systemd

dpkg -i "$DEB" >/tmp/log 2>&1 || fail "$(cat /tmp/log)"
installed
is "at install systemd" "$(told)" "daemon-reload"
dpkg --verify etcd-lifeboat
dpkg -L etcd-lifeboat | grep '^/usr/lib/systemd/catalog/lifeboat.catalog$' >/dev/null || fail "the catalog is not in the package"

# A later version with another configuration; ours is edited, and the administrator has closed a directory.
dpkg-deb -R "$DEB" /tmp/later
sed -i 's/^Version: .*/Version: 99-1/' /tmp/later/DEBIAN/control
echo '# of the later version' >>/tmp/later/etc/lifeboat/lifeboat.toml
dpkg-deb --build --root-owner-group /tmp/later /tmp/later.deb >/dev/null
echo '# ours' >>/etc/lifeboat/lifeboat.toml
touch /etc/lifeboat/token /etc/lifeboat/conf.d/10-own.toml
chmod 700 /etc/lifeboat/conf.d
plant_drop_ins
dpkg -i --force-confdef --force-confold /tmp/later.deb >/tmp/log 2>&1 || fail "$(cat /tmp/log)"
is "at an upgrade systemd" "$(told)" "daemon-reload|try-restart lifeboat.service"
is "the last line of the edited configuration" "$(tail -n 1 /etc/lifeboat/lifeboat.toml)" "# ours"
is "the configuration" "$(mode /etc/lifeboat/lifeboat.toml)" "640 root:lifeboat"
is "a directory that was closed" "$(mode /etc/lifeboat/conf.d)" "2700 root:lifeboat"
there /etc/lifeboat/lifeboat.toml.dpkg-dist /etc/systemd/system/etcd.service.d/50-lifeboat-setup.conf

# Removed although the program is broken.
plant_data
: >/usr/bin/lifeboat
dpkg -r etcd-lifeboat >/tmp/log 2>&1 || fail "$(cat /tmp/log)"
drop_ins_are_gone /tmp/log
is "at removal systemd" "$(told)" "is-active lifeboat-bootstrap.service|is-active lifeboat-bootstrap.service|daemon-reload|stop lifeboat.service lifeboat-credentials.path|--quiet disable lifeboat.service|daemon-reload"
there /etc/lifeboat/{lifeboat.toml,token} /var/lib/lifeboat-bootstrap/memory.json /var/lib/lifeboat/history
gone /usr/bin/lifeboat /usr/lib/systemd/system/lifeboat-bootstrap.service

# Purged: our state goes; data dirs, quarantined members, snapshots and what people have written stay.
touch /etc/lifeboat/restore-once
dpkg -P etcd-lifeboat >/tmp/log 2>&1 || fail "$(cat /tmp/log)"
gone /var/lib/lifeboat-bootstrap /var/lib/lifeboat/{history,.last-runs.json,lifeboat-scratch-1} /etc/lifeboat/{lifeboat.toml,restore-once}
there /var/lib/etcd/{member,member.quarantine-2026-01-01T00-00-00Z}/snap /var/lib/etcd/member/snap/db \
    /var/lib/lifeboat/spool/x-2026-01-01T00-00-00Z.db.gz /var/lib/lifeboat/store/snapshots/x.manifest.json /var/lib/lifeboat/etcd/member/snap/db \
    /etc/lifeboat/token /etc/lifeboat/conf.d/10-own.toml
for kept in spool store etcd; do
    grep -q "kept /var/lib/lifeboat/$kept" /tmp/log || fail "nothing is said about the kept $kept: $(cat /tmp/log)"
done

# With nothing to keep, nothing is left.
rm -r /var/lib/lifeboat /etc/lifeboat
dpkg -i "$DEB" >/tmp/log 2>&1 || fail "$(cat /tmp/log)"
mkdir -p /var/lib/lifeboat/history
dpkg -P etcd-lifeboat >/tmp/log 2>&1 || fail "$(cat /tmp/log)"
gone /var/lib/lifeboat /var/lib/lifeboat-bootstrap /etc/lifeboat
