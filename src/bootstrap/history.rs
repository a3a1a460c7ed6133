//! What each run of the gate saw and decided, one file a run, for the person who asks in the morning.

use std::path::Path;

use serde::Serialize;

use crate::core::decide::{Policy, Verdict};
use crate::core::facts::Facts;
use crate::core::model::Timestamp;
use crate::error::{Kind, Result, ResultExt};
use crate::sys::fs;

/// Files that are kept.
const KEPT: usize = 50;

#[derive(Serialize)]
struct Entry<'a> {
    at: Timestamp,
    facts: &'a Facts,
    policy: &'a Policy,
    verdict: &'a Verdict,
}

/// Writes facts, policy and verdict to `<state-dir>/history/<utc>.json`, and removes the oldest beyond 50.
///
/// # Errors
/// When it cannot be written. The caller goes on: a history is not worth a cluster.
pub(super) fn write(state_dir: &Path, at: Timestamp, facts: &Facts, policy: &Policy, verdict: &Verdict) -> Result<()> {
    let dir = state_dir.join("history");
    fs::create_dir_all(&dir, 0o700)?;
    let text = serde_json::to_vec_pretty(&Entry { at, facts, policy, verdict })
        .or_fail(Kind::Internal, || "cannot write down facts and verdict")?;
    let name = at.strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
    let mut path = dir.join(format!("{name}.json"));
    let mut n = 1;
    // Two runs in one second are two runs.
    while path.symlink_metadata().is_ok() {
        n += 1;
        path.set_file_name(format!("{name}-{n}.json"));
    }
    fs::write_atomic(&path, &text, 0o600)?;
    let entries = std::fs::read_dir(&dir).or_fail(Kind::Io, || format!("cannot read directory {}", dir.display()))?;
    let mut files: Vec<_> =
        entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    files.sort();
    let surplus = files.len().saturating_sub(KEPT);
    for old in files.into_iter().take(surplus) {
        fs::remove_file(&old)?;
    }
    Ok(())
}
