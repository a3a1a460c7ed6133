//! Ending a multipart upload that will not be completed, so that no parts stay behind, invisible and billed.
//!
//! It exists as a guard: whoever drops it, by error, cancellation or shutdown, starts the abort. An abort can race a part
//! that is still being stored, so it is repeated until the store no longer knows the upload, a bounded number of times.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;

use crate::ports::{StoreError, StoreErrorKind, StoreResult};

use super::client::{Client, Request};
use super::retry::Tries;
use super::xml;

/// Rounds of "abort, then look"; with the pauses between them about ten seconds.
const ROUNDS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(150);
const ANSWER: usize = 4 << 20;

#[derive(Clone)]
pub(super) struct Upload {
    pub(super) client: Arc<Client>,
    pub(super) key: String,
    pub(super) id: String,
}

/// Aborts the upload when dropped, unless it was defused.
pub(super) struct AbortGuard(Option<Upload>);

impl AbortGuard {
    pub(super) fn new(upload: Upload) -> Self {
        AbortGuard(Some(upload))
    }

    pub(super) fn upload(&self) -> Option<&Upload> {
        self.0.as_ref()
    }

    /// The upload was completed.
    pub(super) fn defuse(mut self) {
        self.0 = None;
    }

    /// As [`AbortGuard::abort`], waiting for nothing but this one abort.
    pub(super) async fn abort_alone(mut self) {
        if let Some(upload) = self.0.take() {
            aborted(&upload).await;
        }
    }

    /// Aborts now and waits for it. A failed abort is logged: the error that led here matters more.
    pub(super) async fn abort(self) {
        // Dropping the guard does it; its task goes on even if nobody waits.
        let client = self.upload().map(|u| u.client.clone());
        drop(self);
        if let Some(client) = client {
            drain(&client).await;
        }
    }
}

impl Drop for AbortGuard {
    fn drop(&mut self) {
        let Some(upload) = self.0.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            tracing::warn!(key = upload.key, "a multipart upload was left behind: there is no runtime to abort it");
            return;
        };
        let client = upload.client.clone();
        let task = runtime.spawn(async move { aborted(&upload).await });
        if let Ok(mut aborts) = client.aborts.lock() {
            aborts.retain(|t| !t.is_finished());
            aborts.push(task);
        }
    }
}

async fn aborted(upload: &Upload) {
    if let Err(e) = abort(upload).await {
        tracing::warn!(error = %e, key = upload.key, "a multipart upload could not be aborted; its parts stay in the bucket");
    }
}

/// Waits for the aborts that are under way. Each of them is bounded.
pub(super) async fn drain(client: &Client) {
    loop {
        let Some(task) = client.aborts.lock().ok().and_then(|mut aborts| aborts.pop()) else { return };
        let _ = task.await;
    }
}

/// Repeated until the store has no part of it, a bounded number of times.
pub(super) async fn abort(upload: &Upload) -> StoreResult<()> {
    let client = &upload.client;
    for round in 0..ROUNDS {
        if send_abort(upload).await? || gone(upload, round).await? {
            return Ok(());
        }
        tokio::time::sleep(PAUSE.saturating_mul(1 << round)).await;
    }
    let text = format!("the upload of {} still has parts after {ROUNDS} aborts", client.address.show(&upload.key));
    // The store answers; only what it did is not to be seen.
    Err(StoreError::new(StoreErrorKind::Unclear, text))
}

/// `true`: the store does not know the upload.
async fn send_abort(upload: &Upload) -> StoreResult<bool> {
    let request =
        Request::new("abort the upload of", Method::DELETE, Some(&upload.key)).query("uploadId", upload.id.as_str());
    match upload.client.call_small(&request, ANSWER).await {
        Ok(_) => Ok(false),
        Err(f) if f.status == 404 => Ok(true),
        Err(f) => Err(f.error),
    }
}

/// Looks for parts that arrived while the abort was under way.
async fn gone(upload: &Upload, round: u32) -> StoreResult<bool> {
    let request = Request::new("list the parts of", Method::GET, Some(&upload.key))
        .query("uploadId", upload.id.as_str())
        .query("max-parts", "1");
    let mut tries = Tries::new(&upload.client, request.verb);
    loop {
        match upload.client.send_small(&request, ANSWER).await {
            Ok(answer) => return Ok(xml::parts(&answer.body).is_some_and(|parts| parts.none)),
            Err(f) if f.status == 404 => return Ok(true),
            // Not allowed or not known to this store: a second abort has to do.
            Err(f) if (400..500).contains(&f.status) || f.status == 501 => return Ok(round > 0),
            Err(f) => tries.wait(f).await.map_err(|f| f.error)?,
        }
    }
}
