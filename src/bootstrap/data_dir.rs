//! etcd's data dir as the gate sees and changes it: look, and move aside.
//!
//! Nothing here deletes member data. `member/` is moved aside inside the data dir, which may be a mount point of its own.

use std::path::{Path, PathBuf};

use super::build::blocking;
use super::{MemoryFile, Settings};
use crate::core::facts::{Cause, CauseCode, DataDir, LocalMember, LocalVoter, Observed};
use crate::core::model::{ClusterId, MemberId, Timestamp};
use crate::datadir::buckets::StoredMember;
use crate::datadir::inspect_dir::{DirState, inspect_dir};
use crate::datadir::wal;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::sys::fs;

/// Looks at the data dir. An I/O error is unknown, never "empty".
pub(super) async fn observe(settings: &Settings) -> Observed<DataDir> {
    let (dir, wal) = (settings.data_dir.clone(), settings.wal_dir.clone());
    let state = blocking(move || inspect_dir(&dir, wal.as_deref())).await;
    match state {
        Ok(DirState::Absent) => Observed::Known(DataDir::Absent),
        Ok(DirState::Empty) => Observed::Known(DataDir::Empty),
        Ok(DirState::InUse) => Observed::Known(DataDir::InUse),
        Ok(DirState::Damaged { what }) => Observed::Known(DataDir::Damaged {
            what,
            member_present: settings.data_dir.join("member").symlink_metadata().is_ok(),
        }),
        Ok(DirState::Healthy(m)) => Observed::Known(DataDir::Healthy(LocalMember {
            cluster_id: m.cluster_id,
            member_id: m.member_id,
            members: local(m.voters, false).chain(local(m.learners, true)).collect(),
            revision: Some(m.revision.0),
        })),
        Err(e) => Observed::Unknown(Cause {
            code: CauseCode::LocalIo,
            text: e.one_line(),
            hint: e.hint_text().map(str::to_owned),
        }),
    }
}

fn local(members: Vec<StoredMember>, is_learner: bool) -> impl Iterator<Item = LocalVoter> {
    members.into_iter().map(move |m| LocalVoter { id: m.id, name: m.name, peer_urls: m.peer_urls, is_learner })
}

/// The names of what is moved aside begin so.
pub(super) const QUARANTINED: &str = "member.quarantine-";

/// A name for what is moved aside now, which nothing has, and which was promised to nothing.
pub(super) fn free_name(settings: &Settings, now: Timestamp) -> String {
    let stamp = now.strftime("%Y-%m-%dT%H-%M-%SZ");
    let memory = MemoryFile::new(&settings.state_dir).observe();
    let promised = |name: &str| memory.known().is_some_and(|m| m.aside.iter().any(|a| a.name == name));
    let there = |name: &str| {
        let mut dirs = std::iter::once(&settings.data_dir).chain(&settings.wal_dir);
        dirs.any(|dir| dir.join(name).symlink_metadata().is_ok())
    };
    let mut name = format!("{QUARANTINED}{stamp}");
    let mut n = 1;
    while promised(&name) || there(&name) {
        n += 1;
        name = format!("{QUARANTINED}{stamp}-{n}");
    }
    name
}

/// Moves `member/` (and what is in a separate WAL dir) aside, under a name that says when. Returns where it is now: the moved `member/`, or
/// the directory of the moved WAL when there was no `member/`.
///
/// # Errors
/// When an etcd runs on the data, or a rename fails; what was moved by then stays where it is, and the next try goes on.
pub(super) fn quarantine(settings: &Settings, now: Timestamp) -> Result<Option<PathBuf>> {
    quarantine_as(settings, &free_name(settings, now), None)
}

/// The same under a given name. `new_wal`: ids of a WAL that is being put into place. A crash between a separate WAL and `member/` leaves it there,
/// and it stays.
pub(super) fn quarantine_as(
    settings: &Settings,
    name: &str,
    new_wal: Option<(ClusterId, MemberId)>,
) -> Result<Option<PathBuf>> {
    let member = settings.data_dir.join("member");
    // An etcd that was started since the last look would go on in the directory that is moved away, and acknowledge what nobody finds again.
    let db = member.join("snap").join("db");
    if db.is_file() && fs::is_locked(&db)? {
        return Err(Error::new(Kind::Refused, format!("an etcd runs on {}", settings.data_dir.display()))
            .hint("stop that etcd; nothing was moved"));
    }
    let moved = move_aside(&member, &settings.data_dir.join(name))?;
    crate::failpoint!("bootstrap.half_quarantined");
    if let Some(wal) = &settings.wal_dir
        && !new_wal.is_some_and(|ids| wal::inspect(wal).is_ok_and(|w| (w.cluster_id, w.member_id) == ids))
    {
        let moved_wal = quarantine_wal(wal, name)?;
        return Ok(moved.or(moved_wal));
    }
    Ok(moved)
}

/// A WAL dir may be a mount point, which cannot be renamed: its segments are moved into a directory inside of it.
fn quarantine_wal(wal: &Path, as_name: &str) -> Result<Option<PathBuf>> {
    let segments: Vec<PathBuf> = match std::fs::read_dir(wal) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).or_fail(Kind::Io, || format!("cannot read directory {}", wal.display())),
        Ok(entries) => entries
            .map(|entry| entry.map(|e| e.path()))
            .filter(|path| path.as_ref().map_or(true, |p| p.extension().is_some_and(|e| e == "wal" || e == "tmp")))
            .collect::<std::io::Result<_>>()
            .or_fail(Kind::Io, || format!("cannot read directory {}", wal.display()))?,
    };
    if segments.is_empty() {
        return Ok(None);
    }
    // Segments of two lives have the same names; those of an interrupted quarantine are parts of one.
    let taken = |aside: &Path| segments.iter().filter_map(|s| s.file_name()).any(|name| aside.join(name).exists());
    let mut aside = wal.join(as_name);
    let mut n = 1;
    while taken(&aside) {
        n += 1;
        aside.set_file_name(format!("{as_name}-{n}"));
    }
    fs::create_dir(&aside, 0o700)?;
    for segment in segments {
        let name = segment.file_name().map(|n| n.to_owned()).unwrap_or_default();
        fs::rename_new(&segment, &aside.join(name))?;
    }
    Ok(Some(aside))
}

fn move_aside(from: &Path, to: &Path) -> Result<Option<PathBuf>> {
    match from.symlink_metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).or_fail(Kind::Io, || format!("cannot stat {}", from.display())),
        Ok(_) => {}
    }
    fs::rename_new(from, to)?;
    Ok(Some(to.to_path_buf()))
}

/// Tries whether a directory can be renamed inside the data dir (and beside the WAL dir), before anything depends on it.
///
/// # Errors
/// When it cannot.
pub(super) fn try_rename(settings: &Settings, staging: &Path) -> Result<()> {
    let try_one = |from_dir: &Path, to_dir: &Path| -> Result<()> {
        let (from, to) = (from_dir.join("lifeboat-scratch-from"), to_dir.join("lifeboat-scratch-to"));
        fs::remove_scratch(&from)?;
        fs::remove_scratch(&to)?;
        fs::create_dir(&from, 0o700)?;
        let renamed = fs::rename_new(&from, &to);
        fs::remove_scratch(&from)?;
        fs::remove_scratch(&to)?;
        renamed
    };
    // A separate WAL dir is staged on its own file system, so only this rename can be impossible.
    try_one(staging, &settings.data_dir)
}
