//! The snapshot stream with a limit on every wait.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::SnapshotStreaming;

use super::errors;
use crate::core::manifest::TRAILER_BYTES;
use crate::ports::{EtcdError, EtcdErrorKind, EtcdResult, SnapshotStream};

pub(super) struct Stream {
    inner: SnapshotStreaming,
    endpoint: String,
    stall: Duration,
    announced: Option<u64>,
}

impl Stream {
    pub(super) fn new(inner: SnapshotStreaming, endpoint: String, stall: Duration) -> Self {
        Stream { inner, endpoint, stall, announced: None }
    }

    fn broken(&self, why: String) -> EtcdError {
        EtcdError {
            kind: EtcdErrorKind::BrokenStream,
            text: format!("etcd {}: the snapshot stream {why}", self.endpoint),
            hint: Some("look into etcd's own log; the next run takes a new snapshot".into()),
        }
    }
}

#[async_trait]
impl SnapshotStream for Stream {
    async fn next(&mut self) -> EtcdResult<Option<Bytes>> {
        let message = match tokio::time::timeout(self.stall, self.inner.message()).await {
            Err(_) => return Err(self.broken(format!("stalled: no message for {} s", self.stall.as_secs_f32()))),
            Ok(Err(e)) => {
                let cause = errors::explain(&self.endpoint, "Snapshot", &e);
                return Err(EtcdError { kind: EtcdErrorKind::BrokenStream, ..cause });
            }
            Ok(Ok(None)) => return Ok(None),
            Ok(Ok(Some(message))) => message,
        };
        let (remaining, blob) = (message.remaining_bytes(), message.blob());
        // etcd's server ignores a failed read of its db and then sends empty messages for ever (maintenance.go, sendSnapshot).
        if blob.is_empty() && remaining > 0 {
            return Err(
                self.broken(format!("sent an empty piece with {remaining} bytes to come: etcd cannot read its db"))
            );
        }
        if self.announced.is_none() {
            self.announced = Some(remaining.saturating_add(blob.len() as u64).saturating_add(TRAILER_BYTES));
        }
        Ok(Some(Bytes::copy_from_slice(blob)))
    }

    fn announced(&self) -> Option<u64> {
        self.announced
    }
}
