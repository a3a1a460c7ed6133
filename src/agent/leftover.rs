//! Slots that another member was to take: whether it did, and what this host does when it did not.
//!
//! The elected member may fail, resign or be gone at the very moment of a slot. Whoever acts for the cluster after that looks for the slot's snapshot in
//! the store, and takes it where there is none. Two snapshots of one slot do no harm; none for a day does.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::election::Roles;
use super::scheduler::Run;
use super::{Job, Parts};
use crate::catalog::keys::{self, SnapshotObject};
use crate::core::schedule::stands_for;
use crate::ports::StoreResult;

/// The member whose turn it is has this long before another one looks.
const GIVEN: Duration = Duration::from_secs(30);
/// A store that does not answer is asked again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// A slot that nobody could take for so long is left to the next one.
const GIVE_UP: Duration = Duration::from_secs(3600);

/// The slot of each schedule that is watched now.
#[derive(Default)]
pub(super) struct Leftovers {
    slots: Mutex<HashMap<String, CancellationToken>>,
    watches: Mutex<JoinSet<()>>,
}

impl Leftovers {
    /// A slot of `schedule` is due: it stands for all before it. The token ends the watch over this one.
    pub(super) fn due(&self, schedule: &str) -> CancellationToken {
        let token = CancellationToken::new();
        if let Ok(mut watched) = self.slots.lock()
            && let Some(older) = watched.insert(schedule.to_owned(), token.clone())
        {
            older.cancel();
        }
        token
    }

    /// Runs the watch over a slot beside the schedules.
    pub(super) fn watch(&self, slot: impl Future<Output = ()> + Send + 'static) {
        if let Ok(mut watches) = self.watches.lock() {
            while watches.try_join_next().is_some() {}
            watches.spawn(slot);
        }
    }

    /// Waits for the watches, which the end of the agent has ended: one may be giving up a snapshot, and with it an upload.
    pub(super) async fn ended(&self) {
        let mut watches = self.watches.lock().map(|mut watches| std::mem::take(&mut *watches)).unwrap_or_default();
        while watches.join_next().await.is_some() {}
    }
}

/// Returns `true` when this host is to take the slot after all; `false` when that is done, stands behind a newer slot, or is over.
pub(super) async fn is_ours_now(parts: &Parts, roles: &Roles, job: &Job, run: &Run, newer: &CancellationToken) -> bool {
    let watch = async {
        tokio::time::sleep(GIVEN).await;
        loop {
            roles.acting().await;
            match taken(parts, job, run).await {
                Ok(taken) => return !taken,
                Err(e) => tracing::debug!("whether {} was taken is not known: {e}", run.schedule),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    };
    tokio::select! {
        ours = tokio::time::timeout(GIVE_UP, watch) => ours.unwrap_or(false),
        () = newer.cancelled() => false,
        () = run.cancel.cancelled() => false,
    }
}

/// Whether the store holds a snapshot of the slot, or of a later one.
async fn taken(parts: &Parts, job: &Job, run: &Run) -> StoreResult<bool> {
    let schedule = &job.planned.name;
    let objects = parts.snapshots.records().store().list(&format!("{}{schedule}-", keys::SNAPSHOT_FOLDER)).await?;
    Ok(objects.iter().any(|o| match keys::classify(&o.key) {
        SnapshotObject::Manifest(name) => stands_for(&name, schedule, run.slot),
        _ => false,
    }))
}
