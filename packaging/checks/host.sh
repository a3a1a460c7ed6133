# Sourced by deb.sh and rpm.sh: a host on which a package comes and goes. systemd does not run here: what it would be told is written down.
# shellcheck shell=bash

fail() {
    echo "FAILED: $*"
    exit 1
}

is() { # what value expected
    [ "$2" = "$3" ] || fail "$1 is '$2', expected '$3'"
}

there() { for path in "$@"; do [ -e "$path" ] || fail "$path is gone"; done; }
gone() { for path in "$@"; do [ ! -e "$path" ] && [ ! -L "$path" ] || fail "$path is still there"; done; }

mode() { stat -c '%a %U:%G' "$1"; }

# A host with a running systemd, as far as the scripts of the package can see.
# Not in /tmp: rpm gives its scripts one of their own.
pretend_systemd() {
    mkdir -p /run/systemd/system
    rm /usr/bin/systemctl
    printf '#!/bin/sh\necho "$*" >>/var/log/systemctl.log\n' >/usr/bin/systemctl
    chmod 755 /usr/bin/systemctl
    : >/var/log/systemctl.log
}

# What systemd was told since the last call.
told() {
    paste -sd '|' /var/log/systemctl.log
    : >/var/log/systemctl.log
}

plant_drop_ins() {
    local unit
    for unit in etcd lifeboat lifeboat-bootstrap; do
        mkdir -p /etc/systemd/system/$unit.service.d
        printf '%s\n' "# Written by 'lifeboat setup'; 'lifeboat setup --remove' removes it." '[Unit]' >/etc/systemd/system/$unit.service.d/50-lifeboat-setup.conf
    done
    echo '[Unit]' >/etc/systemd/system/lifeboat.service.d/10-own.conf
    mkdir -p /etc/systemd/system/kubelet.service.d
    printf '[Unit]\nRequires=lifeboat-bootstrap.service\n' >/etc/systemd/system/kubelet.service.d/50-lifeboat-setup.conf
}

drop_ins_are_gone() { # output of the package manager
    gone /etc/systemd/system/{etcd,lifeboat-bootstrap}.service.d /etc/systemd/system/lifeboat.service.d/50-lifeboat-setup.conf
    there /etc/systemd/system/lifeboat.service.d/10-own.conf
    # Not written by us: kept, and said.
    there /etc/systemd/system/kubelet.service.d/50-lifeboat-setup.conf
    grep -q 'kubelet.service.d/50-lifeboat-setup.conf was not written by' "$1" || fail "nothing is said about the foreign drop-in: $(cat "$1")"
    rm -r /etc/systemd/system/{lifeboat,kubelet}.service.d
}

plant_data() {
    mkdir -p /var/lib/lifeboat/{spool,history,store/snapshots,etcd/member/snap,lifeboat-scratch-1} /var/lib/lifeboat-bootstrap/history \
        /var/lib/etcd/{member,member.quarantine-2026-01-01T00-00-00Z}/snap
    touch /var/lib/lifeboat/spool/x-2026-01-01T00-00-00Z.db.gz /var/lib/lifeboat/history/a.json /var/lib/lifeboat/store/snapshots/x.manifest.json \
        /var/lib/lifeboat/etcd/member/snap/db /var/lib/lifeboat/.last-runs.json /var/lib/lifeboat-bootstrap/{memory.json,etcd.env} \
        /var/lib/etcd/member/snap/db '/var/lib/lifeboat/lifeboat-scratch-1/a b'
}

installed() {
    is "user lifeboat" "$(getent passwd lifeboat | cut -d : -f 6,7 | sed s,/usr/sbin/,/sbin/,)" "/var/lib/lifeboat:/sbin/nologin"
    is /etc/lifeboat "$(mode /etc/lifeboat)" "2750 root:lifeboat"
    is /etc/lifeboat/conf.d "$(mode /etc/lifeboat/conf.d)" "2750 root:lifeboat"
    is /etc/lifeboat/lifeboat.toml "$(mode /etc/lifeboat/lifeboat.toml)" "640 root:lifeboat"
    is /usr/bin/lifeboat "$(mode /usr/bin/lifeboat)" "755 root:root"
    is /var/lib/lifeboat-bootstrap "$(mode /var/lib/lifeboat-bootstrap)" "755 root:root"
    gone /etc/systemd/system/multi-user.target.wants/lifeboat.service
    lifeboat --version >/dev/null || fail "the program does not run"
}
