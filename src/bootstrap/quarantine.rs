//! Moving a member aside by a person's command.

use std::path::PathBuf;

use super::{Settings, data_dir, lock};
use crate::core::facts::{DataDir, Observed};
use crate::core::model::Timestamp;
use crate::error::{Error, Kind, Result, ResultExt};

/// Moves `member/` and a separate WAL aside, unless an etcd runs on them. `None`: there is neither.
///
/// # Errors
/// When an etcd runs on the data, a bootstrap is at work, or a rename fails.
pub async fn add(settings: &Settings, now: Timestamp) -> Result<Option<PathBuf>> {
    let Some(_held) = lock::try_take(&settings.state_dir)? else { return Err(lock::taken(&settings.state_dir)) };
    if let Observed::Known(DataDir::InUse) = data_dir::observe(settings).await {
        return Err(Error::new(Kind::Refused, format!("an etcd runs on {}", settings.data_dir.display()))
            .hint("stop etcd first"));
    }
    data_dir::quarantine(settings, now)
}

/// What was moved aside, oldest first.
///
/// # Errors
/// When the data dir or the WAL dir cannot be read.
pub fn list(settings: &Settings) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for dir in std::iter::once(&settings.data_dir).chain(&settings.wal_dir) {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e).or_fail(Kind::Io, || format!("cannot read directory {}", dir.display())),
        };
        for entry in entries {
            let entry = entry.or_fail(Kind::Io, || format!("cannot read directory {}", dir.display()))?;
            if entry.file_name().to_string_lossy().starts_with(data_dir::QUARANTINED) {
                found.push(entry.path());
            }
        }
    }
    found.sort_by_key(|path| path.file_name().map(|n| n.to_owned()));
    Ok(found)
}
