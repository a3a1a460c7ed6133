//! Directories that our units may write in.

use std::collections::HashMap;

use super::*;

#[test]
fn the_gate_may_write_what_the_configuration_names() {
    let mut mounted = disk();
    mounted.mounts = vec!["/srv/disk", "/mnt/share"];
    mounted.dirs.extend(["/srv/disk", "/etcd", "/data/etcd"]);
    for (more, unit, words) in [
        ("etcd.data_dir = \"/data/etcd\"", "", "-/data"),
        ("etcd.data_dir = \"/srv/not/yet\"", "", "-/srv"),
        ("etcd.data_dir = \"/srv/disk\"", "srv-disk.mount", "-/srv/disk"),
        ("etcd.data_dir = \"/srv/disk/etcd\"", "srv-disk.mount", "-/srv/disk"),
        ("etcd.data_dir = \"/etcd\"", "", "-/etcd"),
        ("etcd.data_dir = \"/var/lib/link/etcd\"", "", "-/srv"),
        ("store.dir.path = \"/var/lib/link\"", "", "-/srv/real"),
        ("etcd.wal_dir = \"/srv/disk/wal\"", "srv-disk.mount", "-/srv/disk"),
        ("etcd.data_dir = \"/srv/a\"\netcd.wal_dir = \"/srv/disk/w\"", "srv-disk.mount", "-/srv"),
        ("store.dir.path = \"/mnt/share/etcd\"", "", "-/mnt/share/etcd"),
        ("store.dir.path = \"/mnt/share/100% x\"", "", "\"-/mnt/share/100%% x\""),
        ("bootstrap.state_dir = \"/srv/b\"", "", "-/srv"),
        ("bootstrap.request_file = \"/run/lifeboat/once\"", "", "-/run/lifeboat"),
        ("etcd.environment_file = \"/srv/env/etcd.env\"", "", "-/srv"),
        ("etcd.environment_file = \"/var/lib/other/etcd.env\"", "", ""),
    ] {
        let data = settings(more).etcd.data_dir.display().to_string();
        let wal = settings(more).etcd.wal_dir.map(|w| format!(" --wal-dir={}", w.display())).unwrap_or_default();
        let plan = planned(more, &format!("ExecStart=/usr/bin/etcd --data-dir={data}{wal}"), &mounted)
            .unwrap_or_else(|e| panic!("{more}: {e:?}"));
        let mut expected = String::new();
        if !unit.is_empty() {
            expected.push_str(&format!("[Unit]\nWants={unit}\nAfter={unit}\n"));
        }
        if !words.is_empty() {
            expected.push_str(&format!("[Service]\nReadWritePaths={words}\n"));
        }
        assert_eq!(file(&plan, GATE), expected, "{more}");
    }
}

#[test]
fn a_directory_that_is_missing_is_explained_or_refused() {
    let absent = planned("etcd.data_dir = \"/srv/a/b\"", "ExecStart=/x", &disk()).unwrap();
    assert!(texts(&absent).contains("/srv/a/b (etcd.data_dir) does not exist yet: the gate may write in /srv"));
    let mut here = disk();
    here.dirs.push("/etcd");
    let wide = planned("etcd.data_dir = \"/etcd\"", "ExecStart=/x", &here).unwrap();
    assert!(
        texts(&wide).contains("the gate may write in /etcd (etcd.data_dir), not in /: if /etcd itself"),
        "{}",
        texts(&wide)
    );
    for (more, says) in [
        ("etcd.data_dir = \"/nowhere\"", "all of / to create it"),
        ("etcd.wal_dir = \"/etc/etcd/wal\"", "all of /etc to create it"),
        ("bootstrap.state_dir = \"/opt/x\"", "all of / to create it"),
    ] {
        let e = planned(more, "ExecStart=/x", &disk()).unwrap_err();
        assert!(e.message().contains(says) && e.hint_text().unwrap().contains("mkdir -p -m 700"), "{more}\n{e}");
    }
    let mut mounted = disk();
    mounted.mounts = vec!["/mnt/share/etcd"];
    let e = planned("store.dir.path = \"/mnt/share/etcd\"", PLAIN, &mounted).unwrap_err();
    assert!(
        e.message().contains("is a mount point itself") && e.hint_text().unwrap().contains("/mnt/share/etcd/etcd"),
        "{e}"
    );
}

#[test]
fn the_agent_may_write_what_the_configuration_names() {
    let mut here = disk();
    here.owners = HashMap::from([("/mnt/share/etcd", "root"), ("/srv", "lifeboat")]);
    for (more, words, says) in [
        ("node.state_dir = \"/srv\"", "-/srv", ""),
        (
            "store.dir.path = \"/mnt/share/etcd\"",
            "-/mnt/share/etcd",
            "! the agent's user lifeboat may not write in /mnt/share/etcd",
        ),
        (
            "store.dir.path = \"/mnt/new\"",
            "-/mnt/new",
            "! /mnt/new (store.dir.path) does not exist, and the agent cannot create it: install -d",
        ),
        (
            "store.dir.path = \"/var/tmp/me\"",
            "-/var/tmp/me",
            "! store.dir.path is /var/tmp/me, which lifeboat.service hides from the agent",
        ),
    ] {
        let plan = planned(more, PLAIN, &here).unwrap();
        assert!(file(&plan, AGENT).ends_with(&format!("\nReadWritePaths={words}\n")), "{}", file(&plan, AGENT));
        let texts = texts(&plan);
        assert!(texts.contains(says) && texts.is_empty() == says.is_empty(), "{more}\n{texts}");
    }
}
