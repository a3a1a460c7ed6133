//! Directories that have to be made again belong to the user that etcd runs as.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use super::*;
use crate::config::EtcdUser;

/// Others than root's, if we may give files away at all.
fn ids(wanted: u32) -> (u32, u32) {
    let me = nix::unistd::geteuid();
    if me.is_root() { (wanted, wanted + 1) } else { (me.as_raw(), nix::unistd::getegid().as_raw()) }
}

fn of(path: &Path) -> (u32, u32, u32) {
    let m = fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (m.uid(), m.gid(), m.mode() & 0o7777)
}

/// Every directory 0700 and every file 0600, all of one owner, as etcd makes them.
fn check_tree(root: &Path, owner: (u32, u32)) {
    let (mut pending, mut files) = (vec![root.to_path_buf()], 0);
    while let Some(path) = pending.pop() {
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        files += usize::from(path.is_file());
        assert_eq!(of(&path), (owner.0, owner.1, mode), "{}", path.display());
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
    assert!(files > 0, "{}", root.display());
}

impl Host {
    fn data(&self) -> &Path {
        &self.gate.settings.data_dir
    }

    /// Both disks are gone, mount points and all.
    fn lose(&self) {
        for dir in [Some(self.data()), self.gate.settings.wal_dir.as_deref()].into_iter().flatten() {
            let aside = dir.with_extension(format!("lost-{}", crate::sys::random::nonce().unwrap()));
            crate::sys::fs::rename_new(dir, &aside).unwrap();
        }
    }
}

#[tokio::test]
async fn a_data_dir_that_is_made_again_belongs_to_whom_it_belonged_before() {
    for separate in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let wal = separate.then(|| dir.path().join("disk/of/wal"));
        let mut host = Host::new(dir.path(), wal.clone());
        // One that is there already keeps owner and mode.
        let (etcd, other) = (ids(12345), ids(23456));
        fs::create_dir(host.data()).unwrap();
        chown(host.data(), Some(etcd.0), Some(etcd.1)).unwrap();
        fs::set_permissions(host.data(), Permissions::from_mode(0o750)).unwrap();
        if let Some(wal) = &wal {
            crate::sys::fs::create_dir_all(wal, 0o755).unwrap();
            chown(wal, Some(other.0), Some(other.1)).unwrap();
        }
        assert_eq!(host.run().await.unwrap().outcome, Outcome::Start);
        let check = |host: &Host, after: &str| {
            println!("separate WAL: {separate}, {after}");
            assert_eq!(of(host.data()), (etcd.0, etcd.1, 0o750), "{after}");
            check_tree(&host.data().join("member"), etcd);
            if let Some(wal) = &wal {
                assert_eq!(of(wal), (other.0, other.1, 0o755), "{after}");
                check_tree(&wal.join("0000000000000000-0000000000000000.wal"), other);
                assert_eq!(of(wal.parent().unwrap()).2, 0o755, "others may pass to it: {after}");
            }
        };
        check(&host, "formed in a directory that was there");
        // What etcd's start relies on is written down.
        assert_eq!(host.run().await.unwrap().verdict.rule, Rule::D7);

        host.gate.settings.policy.init_empty = true;
        host.lose();
        assert_eq!(host.run().await.unwrap().outcome, Outcome::Start);
        check(&host, "made again");

        // A new disk, mounted: an empty directory of root.
        host.lose();
        for at in [Some(host.data()), wal.as_deref()].into_iter().flatten() {
            fs::create_dir(at).unwrap();
        }
        assert_eq!(host.run().await.unwrap().outcome, Outcome::Start);
        assert_eq!((of(host.data()).0, of(host.data()).1), etcd);
        check_tree(&host.data().join("member"), etcd);
        if let Some(wal) = &wal {
            assert_eq!((of(wal).0, of(wal).1), other);
        }
    }
}

#[tokio::test]
async fn the_configured_user_comes_first_and_must_exist() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::new(dir.path(), Some(dir.path().join("wal")));
    host.gate.settings.etcd_user = Some(EtcdUser::new("no-such-user-of-etcd"));
    let report = host.run().await.unwrap();
    assert_eq!(report.outcome, Outcome::Undecided);
    assert!(report.verdict.because.contains("no such user"), "{report:?}");
    assert!(report.verdict.hint.unwrap().contains("etcd.user"));
    assert!(!host.data().exists());

    let me = nix::unistd::geteuid();
    let uid = if me.is_root() { 34567 } else { me.as_raw() };
    host.gate.settings.etcd_user = Some(EtcdUser::new(&uid.to_string()));
    let owner = host.gate.settings.etcd_user.as_ref().unwrap().ids().unwrap();
    if me.is_root() {
        assert_eq!(owner, (34567, 34567), "a number that is no user here");
        // A new disk, mounted.
        fs::create_dir(host.data()).unwrap();
    }
    assert_eq!(host.run().await.unwrap().outcome, Outcome::Start);
    assert_eq!((of(host.data()).0, of(host.data()).1), owner);
    check_tree(&host.data().join("member"), owner);
    check_tree(&dir.path().join("wal"), owner);
    // Whoever owns a member is who etcd runs as, whatever is configured since.
    host.gate.settings.etcd_user = Some(EtcdUser::new("root"));
    host.gate.settings.policy.init_empty = true;
    assert_eq!(host.run().await.unwrap().verdict.rule, Rule::D7);
    assert_eq!((of(host.data()).0, of(host.data()).1), owner);
}

#[tokio::test]
async fn only_what_etcds_unit_reads_is_open_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::new(dir.path(), None);
    host.gate.settings.environment_file = Some(host.gate.settings.state_dir.join("etcd.env"));
    host.run().await.unwrap();
    host.run().await.unwrap();
    let state = host.gate.settings.state_dir.clone();
    assert_eq!(of(&state).2, 0o755);
    let mut names = Vec::new();
    for entry in fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let expected = match name.as_str() {
            "etcd.env" => 0o644,
            "history" => 0o700,
            _ => 0o600,
        };
        assert_eq!(of(&path).2, expected, "{name}");
        names.push(name);
    }
    names.sort();
    assert_eq!(names, ["bootstrap.lock", "etcd.env", "history", "memory.json"]);
}
