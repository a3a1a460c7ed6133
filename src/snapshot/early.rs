//! Uploads that begin while their snapshot is still being taken, on their way from who takes it to who ships it.
//!
//! It exists because taking and shipping are two things that may happen in two tasks, and a snapshot must never wait for its upload:
//! without one that is under way, or with one that failed, the file is sent from the spool as ever.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::catalog::records::Records;
use crate::core::manifest::{Manifest, payload_key};
use crate::core::model::{Compression, SnapshotName};
use crate::ports::{EarlyUpload, GrowingFile, PutMode};

use super::spool::Spool;

/// One upload, of the snapshot that was taken last.
#[derive(Clone, Default)]
pub(super) struct Handover(Arc<Mutex<Option<Started>>>);

impl std::fmt::Debug for Handover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handover")
    }
}

/// An upload under way, and the name of its snapshot.
pub(super) struct Started {
    key: String,
    upload: Box<dyn EarlyUpload>,
}

impl Handover {
    fn put(&self, started: Option<Started>) -> Option<Started> {
        std::mem::replace(&mut *self.lock(), started)
    }

    /// The upload of this payload, if it is the one under way.
    fn take(&self, key: &str) -> Option<Started> {
        self.lock().take_if(|started| started.key == key)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Started>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins to send what is written under the temporary name of a snapshot. The sender tells how much of it is there.
pub(super) fn begin(
    records: &Records,
    spool: &Spool,
    name: &SnapshotName,
    compression: Compression,
) -> (watch::Sender<u64>, Option<Started>) {
    let (tell, written) = watch::channel(0);
    let key = payload_key(name, compression);
    let upload = records.store().send_early(&key, GrowingFile { path: spool.part(name), written }).ok().flatten();
    (tell, upload.map(|upload| Started { key, upload }))
}

impl Spool {
    /// The snapshot is whole and in the spool: whoever ships it finishes its upload. One before it that nobody has finished is aborted.
    pub(super) fn hand_over(&self, started: Option<Started>) {
        drop(self.handover.put(started));
    }

    /// Aborts an upload that was begun and that nobody has finished.
    pub fn give_up_upload(&self) {
        drop(self.handover.put(None));
    }

    /// The payload whose upload has begun.
    pub(super) fn uploading(&self) -> Option<String> {
        self.handover.lock().as_ref().map(|started| started.key.clone())
    }

    /// Aborts the upload of this payload, if it is the one under way.
    pub(super) fn give_up_upload_of(&self, key: &str) {
        drop(self.handover.take(key));
    }

    /// Finishes the upload of a snapshot that was begun while it was taken. `false`: its payload is still to be sent.
    pub(super) async fn finish_upload(&self, manifest: &Manifest) -> bool {
        let Some(started) = self.handover.take(&manifest.payload_key()) else { return false };
        match started.upload.finish(&manifest.stored.sha256, PutMode::CreateOnly).await {
            Ok(sent) => sent.is_some(),
            Err(e) => {
                tracing::info!(snapshot = %manifest.name, "the upload that began with the snapshot came to nothing; it is sent again: {e}");
                false
            }
        }
    }
}
