//! Sending a file while it is still being written, so that the store has nearly all of it when it is whole.
//!
//! It exists because a snapshot takes as long as etcd needs to give it, and its upload need not begin only then. Nothing of it can
//! be seen in the bucket before its writer has said that the file is good, and with which digest.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::core::model::Sha256;
use crate::ports::{EarlyUpload, GrowingFile, ObjectMeta, PutMode, StoreResult};

use super::client::Client;
use super::multipart::{complete, cut_short, initiate, send_parts};
use super::source::Source;
use super::write::{Ours, confirm};
use super::{META_UPLOAD, random_mark};

/// What the writer of the file says when it is whole.
struct Whole {
    sha256: Sha256,
    mode: PutMode,
}

type Outcome = StoreResult<Option<ObjectMeta>>;

/// A store that is to begin an upload for nobody has this long to name it, so that it can be aborted.
const NAMED_WITHIN: Duration = Duration::from_secs(5);

/// An upload that has begun. Dropped before it is finished, it is aborted, wherever it is.
struct Early {
    client: Arc<Client>,
    full_key: String,
    whole: Option<oneshot::Sender<Whole>>,
    outcome: oneshot::Receiver<Outcome>,
    /// `None`: it has ended, and there is nothing to abort.
    task: Option<(JoinHandle<()>, DropGuard)>,
}

pub(super) fn begin(client: &Arc<Client>, full_key: String, file: GrowingFile) -> Box<dyn EarlyUpload> {
    let (whole, told) = oneshot::channel();
    let (tell, outcome) = oneshot::channel();
    let given_up = CancellationToken::new();
    let (of_task, key, seen) = (client.clone(), full_key.clone(), given_up.clone());
    let task = tokio::spawn(async move {
        let _ = tell.send(run(&of_task, &key, file, told, &seen).await);
    });
    let task = Some((task, given_up.drop_guard()));
    Box::new(Early { client: client.clone(), full_key, whole: Some(whole), outcome, task })
}

#[async_trait]
impl EarlyUpload for Early {
    async fn finish(mut self: Box<Self>, sha256: &Sha256, mode: PutMode) -> Outcome {
        if let Some(whole) = self.whole.take() {
            // A task that has failed already says why below.
            let _ = whole.send(Whole { sha256: *sha256, mode });
        }
        let outcome = (&mut self.outcome).await;
        if outcome.is_ok() {
            self.task = None;
        }
        outcome.unwrap_or_else(|_| Err(cut_short(&self.client, &self.full_key)))
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        let Some((task, given_up)) = self.task.take() else { return };
        // The task aborts by itself, and whoever drains the store waits for that: ended from outside, it would leave an upload that the
        // store is just beginning to nobody.
        drop(given_up);
        if let Ok(mut aborts) = self.client.aborts.lock() {
            aborts.retain(|t| !t.is_finished());
            aborts.push(task);
        }
    }
}

async fn run(
    client: &Arc<Client>,
    full_key: &str,
    file: GrowingFile,
    whole: oneshot::Receiver<Whole>,
    given_up: &CancellationToken,
) -> Outcome {
    let part_size = client.limits.part_size;
    let grown = tokio::select! {
        grown = Source::growing(file, part_size) => grown?,
        () = given_up.cancelled() => None,
    };
    // So small that it is sent in one request, or given up.
    let Some(mut source) = grown else { return Ok(None) };
    let mark = random_mark()?;
    let mut begun = std::pin::pin!(initiate(client, full_key, META_UPLOAD, mark.clone()));
    let guard = tokio::select! {
        guard = &mut begun => guard?,
        () = given_up.cancelled() => match tokio::time::timeout(NAMED_WITHIN, begun).await {
            Ok(guard) => guard?,
            Err(_) => return Ok(None),
        },
    };
    let Some(upload) = guard.upload().cloned() else { return Err(cut_short(client, full_key)) };
    let done = async {
        let parts = send_parts(&upload, &mut source, &|_| ()).await?;
        let Ok(told) = whole.await else { return Ok(None) };
        source.check(&told.sha256, &client.address.show(full_key)).await?;
        complete(&upload, parts, &Ours::Upload(source.size, &mark, &told.sha256), told.mode).await?;
        Ok(Some((source.size, told.sha256)))
    };
    let done = tokio::select! {
        done = done => done,
        () = given_up.cancelled() => Ok(None),
    };
    match done {
        Ok(Some((size, sha256))) => {
            guard.defuse();
            let ours = Ours::Upload(size, &mark, &sha256);
            tokio::select! {
                shown = confirm(client, full_key, &ours) => shown.map(Some),
                () = given_up.cancelled() => Ok(None),
            }
        }
        Ok(None) => {
            guard.abort_alone().await;
            Ok(None)
        }
        Err(e) => {
            guard.abort_alone().await;
            Err(e)
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::super::options::{CredentialSource, Limits, S3Options};
    use super::*;
    use crate::sys::clock::SystemClock;

    /// An agent runs for months: nothing is kept of what has ended, well or not.
    #[tokio::test]
    async fn nothing_is_kept_of_uploads_that_have_ended() {
        let options = S3Options {
            endpoint: "http://127.0.0.1:1".to_owned(),
            bucket: "b".to_owned(),
            folder: "f".to_owned(),
            region: None,
            insecure: true,
            path_style: None,
            ca_file: None,
            credentials: CredentialSource::Chain,
            limits: Limits::default(),
        };
        let client = Arc::new(Client::new(options, Arc::new(SystemClock::new())).expect("a client"));
        // Small, or already where it cannot be found: nothing is sent.
        let ends = |size| {
            let (_, written) = watch::channel(size);
            begin(&client, "f/k".to_owned(), GrowingFile { path: "/nonexistent".into(), written })
        };
        let kept = || client.aborts.lock().expect("a list").len();
        for size in [0, 1, 1 << 30] {
            assert!(ends(size).finish(&Sha256([0; 32]), PutMode::CreateOnly).await.expect("nothing is sent").is_none());
            assert_eq!(kept(), 0, "finished");
        }
        for _ in 0..3 {
            drop(ends(1));
            assert_eq!(kept(), 1, "given up, and the one before it has ended");
            while client.aborts.lock().expect("a list").iter().any(|t| !t.is_finished()) {
                tokio::task::yield_now().await;
            }
        }
    }
}
