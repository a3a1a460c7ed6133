# The .rpm comes, is verified, upgraded and erased, with rpm and with dnf. No distribution with rpm can be had here: a package without files
# stands for what this system has.
. ./host.sh

mkdir -p /tmp/repo
{
    printf 'Name: base\nVersion: 1\nRelease: 1\nSummary: What the system has\nLicense: none\nBuildArch: noarch\n'
    rpm -qp --requires "$RPM" | sort -u | grep -v -E '^(rpmlib|config|group|user)\(' | sed 's/^/Provides: /'
    printf '%%description\n-\n%%files\n'
} >/tmp/base.spec
rpmbuild -bb --quiet --define '_topdir /tmp/base' --define '_rpmdir /tmp/repo' --define '_build_name_fmt %%{NAME}.rpm' /tmp/base.spec
rpm -i --nosignature /tmp/repo/base.rpm
pretend_systemd

rpm -i --test "$RPM"
rpm -i "$RPM" >/tmp/log 2>&1 || fail "$(cat /tmp/log)"
installed
is "at install systemd" "$(told)" "--no-reload preset lifeboat.service|daemon-reload"
is "rpm -V" "$(rpm -V etcd-lifeboat)" ""
is "a second install" "$(rpm -i "$RPM" 2>&1 >/dev/null | grep -c 'already installed')" 1

echo '# ours' >>/etc/lifeboat/lifeboat.toml
touch /etc/lifeboat/token
plant_drop_ins
rpm -U "$LATER" >/tmp/log 2>&1 || fail "$(cat /tmp/log)"
is "at an upgrade systemd" "$(told)" "daemon-reload|try-restart lifeboat.service"
is "the last line of the edited configuration" "$(tail -n 1 /etc/lifeboat/lifeboat.toml)" "# ours"
there /etc/lifeboat/lifeboat.toml.rpmnew /etc/systemd/system/etcd.service.d/50-lifeboat-setup.conf
is "rpm -V after an edit" "$(rpm -V etcd-lifeboat | awk '{ print $NF }')" /etc/lifeboat/lifeboat.toml

plant_data
: >/usr/bin/lifeboat
rpm -e etcd-lifeboat >/tmp/log 2>&1 || fail "$(cat /tmp/log)"
drop_ins_are_gone /tmp/log
is "when it goes systemd" "$(told)" "is-active lifeboat-bootstrap.service|is-active lifeboat-bootstrap.service|daemon-reload|stop lifeboat.service lifeboat-credentials.path|--quiet disable lifeboat.service|daemon-reload"
gone /usr/bin/lifeboat /usr/lib/systemd/system/lifeboat-bootstrap.service
there /etc/lifeboat/{lifeboat.toml.rpmsave,token} /var/lib/lifeboat-bootstrap/memory.json /var/lib/lifeboat/store/snapshots/x.manifest.json \
    /var/lib/etcd/{member,member.quarantine-2026-01-01T00-00-00Z}/snap
grep -q 'kept /var/lib/lifeboat:' /tmp/log || fail "nothing is said about what is kept: $(cat /tmp/log)"

# The same with dnf, from a repository.
cp "$RPM" "$LATER" /tmp/repo/
createrepo_c --quiet /tmp/repo
mkdir -p /etc/yum.repos.d
printf '[here]\nname=here\nbaseurl=file:///tmp/repo\ngpgcheck=0\n' >/etc/yum.repos.d/here.repo
old=$(rpm -qp --queryformat '%{VERSION}-%{RELEASE}' "$RPM")
dnf="dnf --quiet --assumeyes --disablerepo=* --enablerepo=here"
$dnf install "etcd-lifeboat-$old" >/tmp/log 2>&1 || fail "dnf install: $(cat /tmp/log)"
is "by dnf" "$(rpm -q --queryformat '%{VERSION}-%{RELEASE}' etcd-lifeboat)" "$old"
$dnf upgrade etcd-lifeboat >/tmp/log 2>&1 || fail "dnf upgrade: $(cat /tmp/log)"
[ "$(rpm -q --queryformat '%{VERSION}-%{RELEASE}' etcd-lifeboat)" != "$old" ] || fail "dnf did not upgrade"
is "by dnf, modes" "$(mode /etc/lifeboat) $(mode /etc/lifeboat/lifeboat.toml)" "2750 root:lifeboat 640 root:lifeboat"
$dnf remove etcd-lifeboat >/tmp/log 2>&1 || fail "dnf remove: $(cat /tmp/log)"
gone /usr/bin/lifeboat
