//! Sending a file while it is still being written, so that the store has nearly all of it when it is whole.
//!
//! It exists because a snapshot takes as long as etcd needs to give it, and its upload need not begin only then. Nothing of it can
//! be seen in the bucket before its writer has said that the file is good, and with which digest.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::core::model::Sha256;
use crate::ports::{EarlyUpload, GrowingFile, ObjectMeta, PutMode, StoreResult};

use super::abort::AbortGuard;
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

/// An upload that has begun. Dropped before [`EarlyUpload::finish`], it is aborted.
struct Early {
    client: Arc<Client>,
    full_key: String,
    whole: Option<oneshot::Sender<Whole>>,
    outcome: oneshot::Receiver<Outcome>,
    task: Option<JoinHandle<()>>,
}

pub(super) fn begin(client: &Arc<Client>, full_key: String, file: GrowingFile) -> Box<dyn EarlyUpload> {
    let (whole, told) = oneshot::channel();
    let (tell, outcome) = oneshot::channel();
    let (of_task, key) = (client.clone(), full_key.clone());
    let task = tokio::spawn(async move {
        let _ = tell.send(run(&of_task, &key, file, told).await);
    });
    Box::new(Early { client: client.clone(), full_key, whole: Some(whole), outcome, task: Some(task) })
}

#[async_trait]
impl EarlyUpload for Early {
    async fn finish(mut self: Box<Self>, sha256: &Sha256, mode: PutMode) -> Outcome {
        if let Some(whole) = self.whole.take() {
            // A task that has failed already says why below.
            let _ = whole.send(Whole { sha256: *sha256, mode });
        }
        let outcome = (&mut self.outcome).await;
        outcome.unwrap_or_else(|_| Err(cut_short(&self.client, &self.full_key)))
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        // The task sees that nobody will finish it, and aborts; whoever drains the store waits for that.
        self.whole = None;
        if let (Some(task), Ok(mut aborts)) = (self.task.take(), self.client.aborts.lock()) {
            aborts.push(task);
        }
    }
}

async fn run(client: &Arc<Client>, full_key: &str, file: GrowingFile, mut whole: oneshot::Receiver<Whole>) -> Outcome {
    let part_size = client.limits.part_size;
    let mut source = match Source::growing(file, part_size).await? {
        Some(source) => source,
        // So small that it is sent in one request, or given up.
        None => return Ok(None),
    };
    let mark = random_mark()?;
    let guard: AbortGuard = initiate(client, full_key, META_UPLOAD, mark.clone()).await?;
    let Some(upload) = guard.upload().cloned() else { return Err(cut_short(client, full_key)) };
    let done = async {
        let mut told = None;
        let parts = {
            let ignored = |_| ();
            let mut parts = std::pin::pin!(send_parts(&upload, &mut source, &ignored));
            loop {
                tokio::select! {
                    parts = &mut parts => break parts?,
                    said = &mut whole, if told.is_none() => match said {
                        Ok(said) => told = Some(said),
                        Err(_) => return Ok(None),
                    },
                }
            }
        };
        let told = match told {
            Some(told) => told,
            None => match whole.await {
                Ok(told) => told,
                Err(_) => return Ok(None),
            },
        };
        source.check(&told.sha256, &client.address.show(full_key)).await?;
        complete(&upload, parts, &Ours::Upload(source.size, &mark, &told.sha256), told.mode).await?;
        Ok(Some((source.size, told.sha256)))
    };
    match done.await {
        Ok(Some((size, sha256))) => {
            guard.defuse();
            confirm(client, full_key, &Ours::Upload(size, &mark, &sha256)).await.map(Some)
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
