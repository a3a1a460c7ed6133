//! One scheduled run: take the snapshot into the spool, and wake the shipping.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Parts;
use super::scheduler::Run;
use crate::core::manifest::Origin;
use crate::core::model::{Compression, Revision};
use crate::error::{Error, Kind, Result};
use crate::event;
use crate::snapshot::life;
use crate::snapshot::save::{SaveRequest, Saved, save};

/// How often the server is asked for its own digest of the whole key space.
const HASH_EVERY: Duration = Duration::from_secs(24 * 3600);

/// What the runs of one agent have in common.
#[derive(Debug, Default)]
pub(super) struct RunState {
    /// Monotonic time of the last snapshot with HashKV.
    hashed_at: Option<Duration>,
    newest: Option<(crate::core::model::Generation, Revision)>,
}

/// Runs one slot. Its outcome is in the log; a failed one is left to the next slot.
pub(super) async fn run(
    parts: &Parts,
    compression: Compression,
    run: &Run,
    state: &tokio::sync::Mutex<RunState>,
) -> bool {
    event!(BackupStarted, schedule = %run.schedule, slot = %run.slot, missed = run.missed, "schedule {} is due", run.schedule);
    let mut state = state.lock().await;
    let outcome = tokio::select! {
        outcome = take(parts, compression, run, &mut state) => outcome,
        () = run.cancel.cancelled() => Err(Error::new(Kind::Refused, "the agent stops; the snapshot in progress is given up")),
    };
    match outcome {
        Ok(saved) => {
            for warning in &saved.warnings {
                tracing::warn!(snapshot = %saved.manifest.name, "{warning}");
            }
            event!(
                BackupUploading,
                snapshot = %saved.manifest.name,
                revision = saved.manifest.revision.0,
                size = saved.manifest.stored.size,
                "saved {} (revision {}) in {:.1} s; shipping it",
                saved.manifest.name,
                saved.manifest.revision,
                saved.took.as_secs_f64()
            );
            true
        }
        Err(e) => {
            let hint = e.hint_text().map(|h| format!(" | hint: {h}")).unwrap_or_default();
            event!(BackupError, schedule = %run.schedule, kind = e.kind().label(), "schedule {}: {}{hint}", run.schedule, e.one_line());
            false
        }
    }
}

async fn take(parts: &Parts, compression: Compression, run: &Run, state: &mut RunState) -> Result<Saved> {
    let generation = life::of_member(parts.etcd.as_ref(), &parts.snapshots, &parts.state_dir).await?;
    let now = parts.clock.monotonic();
    let hash_check = state.hashed_at.is_none_or(|at| now.saturating_sub(at) >= HASH_EVERY);
    let request = SaveRequest {
        prefix: run.schedule.clone(),
        origin: Origin::Scheduled,
        compression,
        generation,
        node: parts.node.clone(),
        tags: BTreeMap::new(),
        hash_check,
        newest_known: state.newest,
    };
    let saved =
        save(parts.etcd.as_ref(), parts.snapshots.records(), parts.clock.as_ref(), &parts.spool, &request).await?;
    if saved.manifest.hash_kv.is_some() {
        state.hashed_at = Some(now);
    }
    state.newest = Some((saved.manifest.generation, saved.manifest.revision));
    Ok(saved)
}
