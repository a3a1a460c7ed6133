//! Once a day, after shipping: uploads that nobody will finish are removed from the store.
//!
//! It exists because a kill in the middle of an upload leaves its parts in the bucket, and no later upload of ours touches them. Only the agent does
//! this, and only to payloads of snapshots that were begun a day ago: no upload of a living host is that old.

use std::time::Duration;

use super::Parts;
use super::last_runs::LastRuns;
use crate::catalog::keys::{self, SnapshotObject};
use crate::ports::StoreErrorKind;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Where its last run is noted, beside those of the schedules. No schedule can have this name.
const NOTE: &str = "(unfinished uploads)";

/// What one agent remembers of it.
#[derive(Default)]
pub(super) struct Sweeper {
    /// That it is forbidden was said.
    said: bool,
}

impl Sweeper {
    /// Does it if the last time was a day ago. Its failures are in the log; the next try is in a day.
    pub(super) async fn when_due(&mut self, parts: &Parts, last_runs: &LastRuns) {
        let now = parts.clock.now();
        let since = |last: &crate::core::model::Timestamp| now.as_second().saturating_sub(last.as_second());
        // A clock that was put back is no reason to wait for years.
        if last_runs.all().get(NOTE).is_some_and(|last| (0..DAY.as_secs().cast_signed()).contains(&since(last))) {
            return;
        }
        if let Err(e) = last_runs.ran(NOTE, now) {
            tracing::warn!("{}", e.one_line());
        }
        let payload = |key: &str| matches!(keys::classify(key), SnapshotObject::Payload(..));
        let swept = match parts.snapshots.records().store().sweep(keys::SNAPSHOT_FOLDER, DAY, &payload).await {
            Ok(swept) => swept,
            Err(e) => return self.failed(&e),
        };
        for key in &swept.removed {
            tracing::info!(key, "removed an upload of {key} that was cut off more than a day ago");
        }
        for e in &swept.failed {
            self.failed(e);
        }
        if swept.left > 0 {
            let why = swept.failed.last().map_or_else(|| "it took too long".to_owned(), ToString::to_string);
            tracing::info!(
                "{} unfinished upload(s) were not looked at; those that were cut off stay in the bucket until the next look in a day: {why}",
                swept.left
            );
        }
    }

    fn failed(&mut self, e: &crate::ports::StoreError) {
        if e.kind == StoreErrorKind::Denied && !std::mem::replace(&mut self.said, true) {
            tracing::warn!(
                "uploads that were cut off stay in the bucket and cost money: {e} | hint: grant the key s3:ListBucketMultipartUploads on the bucket, and \
                 s3:ListMultipartUploadParts and s3:AbortMultipartUpload on its objects, or set a lifecycle rule that aborts unfinished uploads"
            );
        } else {
            tracing::debug!("uploads that were cut off may stay in the bucket: {e}");
        }
    }
}
