# Both packages carry the same files: paths, modes, digests. Only what belongs to one kind of package differs.
mkdir /tmp/deb /tmp/rpm
dpkg-deb -x "$DEB" /tmp/deb
# Not through a pipe: cpio ends before it has read all, and rpm2cpio would fail now and then.
rpm2cpio "$RPM" >/tmp/cpio
(cd /tmp/rpm && cpio -idm --quiet </tmp/cpio)
# The copyright notice, the changelog and the overrides of Debian; the license file of RPM systems; where zsh looks.
rm -r /tmp/deb/usr/share/doc/etcd-lifeboat/{copyright,changelog.Debian.gz} /tmp/deb/usr/share/lintian /tmp/rpm/usr/share/licenses
mv /tmp/rpm/usr/share/zsh/{site-functions,vendor-completions}

list() { (cd "$1" && find . -type f -printf '%m %p ' -exec sha256sum -b {} \; | awk '{ print $2, $1, $3 }' | sort); }
list /tmp/deb >/tmp/deb.list
list /tmp/rpm >/tmp/rpm.list
list "$TREE" >/tmp/tree.list
diff -u /tmp/deb.list /tmp/rpm.list
diff -u /tmp/tree.list /tmp/rpm.list
echo "payload: $(wc -l </tmp/deb.list) files, equal"

# What the packages say about the C library is what the binary needs.
needs=$(rpm -qp --requires "$RPM" | sed -n 's/^libc\.so\.6(GLIBC_\([0-9.]*\)).*/\1/p' | sort -V | tail -n 1)
says=$(dpkg-deb -f "$DEB" Depends | sed -n 's/.*libc6 (>= \([0-9.]*\)).*/\1/p')
[ "$needs" = "$says" ] || { echo "the binary needs glibc $needs, the .deb says $says"; exit 1; }
strange=$(rpm -qp --requires "$RPM" | grep -v -E '^(/bin/sh|systemd|ca-certificates|config\(etcd-lifeboat\) = .*|group\(lifeboat\)|rpmlib\(.*\) .*|(ld-linux-x86-64\.so\.2|lib(c|m|dl|pthread)\.so\.[0-9])\(.*\))$') || true
[ -z "$strange" ] || { echo "the .rpm requires what it should not: $strange"; exit 1; }
echo "glibc $needs or newer"
