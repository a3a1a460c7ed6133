//! What a data dir holds, told in moments whatever its size: the bootstrap gate asks this before etcd may start.
//!
//! It reads meta pages, small buckets, the right edge of the `key` bucket and the WAL's heads and last segment; it never
//! walks the whole db. I/O errors are errors here, never "damaged" and never "absent": what could not be read is unknown.

use std::fs;
use std::io;
use std::path::Path;

use crate::bolt::reader::Image;
use crate::core::model::{ClusterId, MemberId, Revision};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::sys;

use super::buckets::{ALARM, AUTH, CLUSTER, KEY, MEMBERS, META, SmallFacts, StoredMember, read_small};
use super::install::first_foreign_entry;
use super::restore::last_revision;
use super::wal;

/// What a data dir is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirState {
    /// There is no such directory.
    Absent,
    /// It holds nothing, or nothing but what is ours (staging, quarantined parts) and `lost+found`.
    Empty,
    /// A process holds the lock on the db: an etcd runs on it.
    InUse,
    /// It has a WAL and a db, and both are readable in structure.
    Healthy(Box<MemberDir>),
    /// Something is there that is not a whole member.
    Damaged {
        /// What is missing or broken, with its path.
        what: String,
    },
}

/// A member's data dir.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDir {
    /// The cluster that the WAL was written for.
    pub cluster_id: ClusterId,
    /// The member that wrote the WAL.
    pub member_id: MemberId,
    /// The voting members, as the db lists them, by id. A dir that etcdctl 3.4 restored still lists those of its snapshot.
    pub voters: Vec<StoredMember>,
    /// Learners.
    pub learners: Vec<StoredMember>,
    /// The revision of the db. The WAL may hold later writes.
    pub revision: Revision,
    /// The highest revision that a compaction was begun or finished at.
    pub compact_revision: Option<Revision>,
    /// The raft index that the db has applied.
    pub consistent_index: Option<u64>,
    /// Version of the storage format.
    pub storage_version: Option<String>,
    /// Version of the cluster.
    pub cluster_version: Option<String>,
    /// Whether auth is on.
    pub auth_enabled: bool,
    /// Bytes of the db file.
    pub db_size: u64,
    /// The WAL.
    pub wal: wal::WalInfo,
}

/// Looks at a data dir, and at its WAL where that lies elsewhere. Changes nothing; takes the lock of the db for a moment
/// to see whether it is free.
///
/// # Errors
/// `Io` when something could not be read: then nothing is known.
pub fn inspect_dir(data_dir: &Path, wal_dir: Option<&Path>) -> Result<DirState> {
    match inspect(data_dir, wal_dir) {
        Err(e) if e.kind() == Kind::Verification => Ok(DirState::Damaged { what: e.one_line() }),
        other => other,
    }
}

fn damaged(what: String) -> Error {
    Error::new(Kind::Verification, what)
}

/// What is at a path, links followed.
enum Entry {
    Nothing,
    Dir,
    Else,
}

fn entry(path: &Path) -> Result<Entry> {
    match fs::metadata(path) {
        Ok(m) if m.is_dir() => Ok(Entry::Dir),
        Ok(_) => Ok(Entry::Else),
        // A dangling link is something, not nothing: its target may be an unmounted disk.
        Err(e) if e.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => Ok(Entry::Nothing),
        Err(e) => Err(Error::new(Kind::Io, format!("cannot stat {}", path.display())).caused_by(e)),
    }
}

fn inspect(data_dir: &Path, wal_dir: Option<&Path>) -> Result<DirState> {
    let member = data_dir.join("member");
    let inner_wal = member.join("wal");
    let wal_dir = wal_dir.unwrap_or(&inner_wal);
    match entry(data_dir)? {
        Entry::Nothing => return without_member(wal_dir, DirState::Absent),
        Entry::Else => return Err(damaged(format!("{} is not a directory", data_dir.display()))),
        Entry::Dir => {}
    }
    match entry(&member)? {
        Entry::Dir => {}
        Entry::Else => return Err(damaged(format!("{} is not a directory", member.display()))),
        Entry::Nothing => {
            return match first_foreign_entry(data_dir)? {
                None => without_member(wal_dir, DirState::Empty),
                Some(name) => {
                    Err(damaged(format!("{} holds {name:?} but no directory \"member\"", data_dir.display())))
                }
            };
        }
    }
    let db = member.join("snap").join("db");
    match entry(&db)? {
        Entry::Nothing => return Err(damaged(format!("{} is missing", db.display()))),
        Entry::Dir => return Err(damaged(format!("{} is a directory", db.display()))),
        Entry::Else => {}
    }
    if sys::fs::is_locked(&db)? {
        return Ok(DirState::InUse);
    }
    if wal::segments(wal_dir)?.is_empty() {
        return Err(damaged(format!("{} is there, but {} holds no WAL", db.display(), wal_dir.display())));
    }
    let wal = wal::inspect(wal_dir)?;
    inspect_member(&db, wal).map(|m| DirState::Healthy(Box::new(m)))
}

/// A WAL without a data dir is half of a member.
fn without_member(wal_dir: &Path, state: DirState) -> Result<DirState> {
    if wal::segments(wal_dir)?.is_empty() {
        return Ok(state);
    }
    Err(damaged(format!("{} holds a WAL, but there is no data dir that belongs to it", wal_dir.display())))
}

fn inspect_member(db: &Path, wal: wal::WalInfo) -> Result<MemberDir> {
    let image = Image::open(db)?;
    let buckets = image.buckets(&mut image.seen())?;
    let find = |name: &[u8]| buckets.iter().find(|(n, _)| n == name).map(|(_, b)| b);
    let mut facts = SmallFacts::default();
    for name in [META, CLUSTER, AUTH, ALARM] {
        let Some(bucket) = find(name) else { continue };
        for (key, value) in &read_small(&image, bucket)? {
            image.in_image(facts.take(name, key, value))?;
        }
    }
    let mut members = Vec::new();
    if let Some(bucket) = find(MEMBERS) {
        for value in read_small(&image, bucket)?.values() {
            members.push(image.in_image(StoredMember::decode(value))?);
        }
    }
    members.sort_by_key(|m| m.id);
    let last = match find(KEY) {
        Some(key) => last_revision(&image, key)?,
        None => return Err(image.bad("it has no bucket \"key\"")),
    };
    let (learners, voters) = members.into_iter().partition(|m| m.is_learner);
    Ok(MemberDir {
        cluster_id: wal.cluster_id,
        member_id: wal.member_id,
        voters,
        learners,
        revision: Revision(facts.revision(last)),
        compact_revision: facts.compact_revision.map(Revision),
        consistent_index: facts.consistent_index,
        storage_version: facts.storage_version,
        cluster_version: facts.cluster_version,
        auth_enabled: facts.auth_enabled,
        db_size: fs::metadata(db).or_fail(Kind::Io, || format!("cannot stat {}", db.display()))?.len(),
        wal,
    })
}
