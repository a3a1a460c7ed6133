//! A data dir as the gate finds it: a WAL and a db. It is healthy or damaged, never unreadable, and what the gate reads of a sound
//! db is what a reading of the whole file tells.

use std::fs;
use std::path::PathBuf;

use etcd_lifeboat::datadir::inspect_dir::{DirState, inspect_dir};
use etcd_lifeboat::datadir::inspect_file::inspect_file;
use etcd_lifeboat::datadir::wal::first_segment_name;
use etcd_lifeboat::error::Kind;

use super::image::mend;
use super::wal::log;

thread_local! {
    static DIR: (tempfile::TempDir, PathBuf, PathBuf) = {
        // In memory: thousands of times a second.
        let shm = std::path::Path::new("/dev/shm");
        let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.expect("a directory");
        let member = dir.path().join("member");
        for part in ["snap", "wal"] {
            fs::create_dir_all(member.join(part)).expect("a directory");
        }
        (dir, member.join("snap/db"), member.join("wal").join(first_segment_name()))
    };
}

pub fn run(data: &[u8]) -> bool {
    let [len, rest @ ..] = data else { return false };
    let (parts, image) = rest.split_at(usize::from(*len).min(rest.len()));
    let mut image = image.to_vec();
    mend(&mut image);
    DIR.with(|(dir, db, segment)| {
        fs::write(db, &image).expect("memory");
        fs::write(segment, log(parts)).expect("memory");
        let state = inspect_dir(dir.path(), None).expect("nothing is unreadable here");
        let info = inspect_file(db).inspect_err(|e| assert_eq!(e.kind(), Kind::Verification, "{e:?}"));
        match state {
            DirState::Healthy(member) => {
                if let Ok(info) = info {
                    assert_eq!(member.revision, info.revision);
                    assert_eq!(member.auth_enabled, info.auth_enabled);
                    assert_eq!(member.db_size, image.len() as u64);
                }
                true
            }
            DirState::Damaged { what } => {
                assert!(what.contains("member"), "which file? {what}");
                false
            }
            other => panic!("{other:?}"),
        }
    })
}
