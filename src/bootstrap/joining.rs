//! What this host remembers of a join: which learner it added, and whether that one was ever allowed to start.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Settings;
use crate::core::model::{ClusterId, Generation, MemberId};
use crate::datadir::wal;
use crate::error::{Kind, Result, ResultExt};
use crate::sys::fs;

const FILE: &str = "joining.json";

/// A learner that this host has added for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Joining {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Its life.
    pub generation: Generation,
    /// The learner.
    pub member_id: MemberId,
    /// etcd was allowed to start as it: it may have a log.
    pub released: bool,
}

/// Whether etcd was let start as a member that was added for this host, and has made no log since. What cannot be read says no.
pub(super) fn without_log(settings: &Settings) -> bool {
    let released = Joining::read(&settings.state_dir).is_ok_and(|note| note.is_some_and(|n| n.released));
    let dir = settings.wal_dir.clone().unwrap_or_else(|| settings.data_dir.join("member/wal"));
    released && wal::segments(&dir).is_ok_and(|log| log.is_empty())
}

/// etcd has a log as that member: from here on, data without one is a loss like any other.
///
/// # Errors
/// When the note cannot be removed.
pub(super) fn done(state_dir: &Path) -> Result<()> {
    fs::remove_file(&state_dir.join(FILE))
}

impl Joining {
    /// The note, if there is one. One that cannot be understood says nothing: the learner is then added anew.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read(state_dir: &Path) -> Result<Option<Joining>> {
        let path = state_dir.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).or_fail(Kind::Io, || format!("cannot read {}", path.display())),
        }
    }

    /// Writes it, durably.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, state_dir: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).or_fail(Kind::Internal, || "cannot write down the join")?;
        fs::create_dir_all(state_dir, 0o755)?;
        fs::write_atomic(&state_dir.join(FILE), &text, 0o600)
    }
}
