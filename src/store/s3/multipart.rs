//! Sending a file: in one request when it is small, else in parts.
//!
//! It exists because rust-s3's own streaming upload times out with slow sources, takes memory by what is free and leaves
//! parts behind when cancelled. Here: parts as tasks behind a semaphore, a digest of what was really sent compared before
//! the object can appear, the condition at completion, and success only when the store itself shows the object.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ETAG, HeaderName, IF_NONE_MATCH};
use s3::serde_types::{CompleteMultipartUploadData, Part as DonePart};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::core::model::Sha256;
use crate::ports::{ObjectMeta, PutMode, StoreError, StoreErrorKind, StoreResult};

use super::abort::{AbortGuard, Upload};
use super::client::{Client, Request};
use super::failure::{Failure, odd};
use super::options::Limits;
use super::retry::Tries;
use super::source::{Part, Source};
use super::write::{Found, Ours, cannot_settle, confirm, find, put, still_unclear, taken};
use super::{META_SHA256, xml};

/// S3's limit.
const MOST_PARTS: u64 = 10_000;
/// Parts grow in steps of this, bytes.
const STEP: u64 = 1 << 20;
/// No more than this is held in memory by one upload, bytes, as long as one part fits.
const MEMORY: u64 = 64 << 20;
const ANSWER: usize = 1 << 20;

pub(super) async fn put_file(
    client: &Arc<Client>,
    full_key: &str,
    file: &Path,
    sha256: &Sha256,
    mode: PutMode,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> StoreResult<ObjectMeta> {
    let mut source = Source::open(file).await?;
    let size = source.size;
    if size <= client.limits.part_size {
        let body = source.next(size, false).await?.map_or(Bytes::new(), |part| part.bytes);
        source.check(sha256, &client.address.show(full_key)).await?;
        client.pace.lock().await.pass(body.len()).await;
        put(client, full_key, body, mode, Some(sha256)).await?;
        progress(size);
        return confirm(client, full_key, &Ours::Digest(size, sha256)).await;
    }
    let guard = initiate(client, full_key, META_SHA256, sha256.to_string()).await?;
    let Some(upload) = guard.upload().cloned() else { return Err(cut_short(client, full_key)) };
    let done = async {
        let parts = send_parts(&upload, &mut source, progress).await?;
        source.check(sha256, &client.address.show(full_key)).await?;
        complete(&upload, parts, &Ours::Digest(size, sha256), mode).await
    };
    match done.await {
        Ok(()) => {
            guard.defuse();
            confirm(client, full_key, &Ours::Digest(size, sha256)).await
        }
        Err(e) => {
            guard.abort().await;
            Err(e)
        }
    }
}

pub(super) fn cut_short(client: &Client, full_key: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        format!("the upload of {} was cut short", client.address.show(full_key)),
    )
}

/// Size of a part, and how many may be in memory at once.
fn plan(limits: &Limits, size: u64) -> (u64, usize) {
    let least = size.div_ceil(MOST_PARTS).div_ceil(STEP).saturating_mul(STEP);
    let part = limits.part_size.max(least).max(1);
    let fit = usize::try_from(MEMORY / part).unwrap_or(usize::MAX);
    (part, limits.parts_in_flight.min(fit).max(1))
}

/// In a task of its own: if this future is dropped while the store is answering, the guard is still made, and aborts.
pub(super) async fn initiate(
    client: &Arc<Client>,
    full_key: &str,
    known_by: &'static str,
    mark: String,
) -> StoreResult<AbortGuard> {
    let (task_client, key) = (client.clone(), full_key.to_owned());
    let task = tokio::spawn(async move {
        let request = Request::new("start the upload of", Method::POST, Some(&key))
            .query("uploads", "")
            .header(HeaderName::from_static(known_by), mark);
        let answer = task_client.call_small(&request, ANSWER).await.map_err(|f| f.error)?;
        let Some(id) = xml::upload_id(&answer.body) else {
            let text = format!("{}: the store did not name an upload id", task_client.what(&request));
            return Err(StoreError::new(StoreErrorKind::Unavailable, text));
        };
        Ok(AbortGuard::new(Upload { client: task_client.clone(), key, id }))
    });
    task.await.unwrap_or_else(|_| Err(cut_short(client, full_key)))
}

pub(super) async fn send_parts(
    upload: &Upload,
    source: &mut Source,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> StoreResult<Vec<DonePart>> {
    let (part_size, in_flight) = plan(&upload.client.limits, source.size);
    // TLS keeps the bytes on their way, and the digest of the whole is compared at the end. Without TLS each part is signed.
    let signed = !upload.client.address.tls();
    let permits = Arc::new(Semaphore::new(in_flight));
    let mut tasks: JoinSet<StoreResult<(u64, DonePart)>> = JoinSet::new();
    let mut done = Vec::new();
    let mut sent = 0u64;
    let mut number = 0u32;
    let result = async {
        loop {
            // Memory is taken before the part is read.
            let permit = loop {
                tokio::select! {
                    biased;
                    Some(joined) = tasks.join_next() => done.push(settle(upload, joined, &mut sent, progress)?),
                    permit = permits.clone().acquire_owned() => break permit,
                }
            };
            let Ok(permit) = permit else { return Err(cut_short(&upload.client, &upload.key)) };
            let Some(part) = source.next(part_size, signed).await? else { break };
            number = number.saturating_add(1);
            let (upload, n) = (upload.clone(), number);
            tasks.spawn(async move {
                let sent = send_part(&upload, n, part).await;
                drop(permit);
                sent
            });
        }
        while let Some(joined) = tasks.join_next().await {
            done.push(settle(upload, joined, &mut sent, progress)?);
        }
        Ok(())
    }
    .await;
    // No part may be on its way when the upload is aborted.
    tasks.shutdown().await;
    result?;
    done.sort_by_key(|part| part.part_number);
    Ok(done)
}

type Joined = Result<StoreResult<(u64, DonePart)>, tokio::task::JoinError>;

fn settle(
    upload: &Upload,
    joined: Joined,
    sent: &mut u64,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> StoreResult<DonePart> {
    let (length, part) = joined.unwrap_or_else(|_| Err(cut_short(&upload.client, &upload.key)))?;
    *sent = sent.saturating_add(length);
    progress(*sent);
    Ok(part)
}

async fn send_part(upload: &Upload, number: u32, part: Part) -> StoreResult<(u64, DonePart)> {
    let client = &upload.client;
    let length = u64::try_from(part.bytes.len()).unwrap_or(u64::MAX);
    let mut request = Request::new("send a part of", Method::PUT, Some(&upload.key))
        .query("partNumber", number.to_string())
        .query("uploadId", upload.id.as_str());
    request.body = part.bytes;
    request.body_sha256 = part.sha256;
    client.pace.lock().await.pass(request.body.len()).await;
    // The same part again replaces itself.
    let answer = client.call_small(&request, ANSWER).await.map_err(|f| f.error)?;
    let etag = answer.headers.get(ETAG).and_then(|v| v.to_str().ok()).filter(|e| !e.contains(['<', '>', '&']));
    match etag {
        Some(etag) => Ok((length, DonePart { part_number: number, etag: etag.to_owned() })),
        None => {
            let text = format!("{}: the store did not answer with an ETag", client.what(&request));
            Err(StoreError::new(StoreErrorKind::Unavailable, text))
        }
    }
}

pub(super) async fn complete(upload: &Upload, parts: Vec<DonePart>, ours: &Ours<'_>, mode: PutMode) -> StoreResult<()> {
    let client = &upload.client;
    let body = CompleteMultipartUploadData { parts }.to_string();
    let mut request = Request::new("complete the upload of", Method::POST, Some(&upload.key))
        .query("uploadId", upload.id.as_str())
        .body(Bytes::from(body));
    request.patient = true;
    if mode == PutMode::CreateOnly {
        request = request.header(IF_NONE_MATCH, "*");
    }
    let mut tries = Tries::new(client, request.verb);
    let mut unclear = false;
    loop {
        let failure = match complete_once(client, &request).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        // After an unclear attempt these can be its echo: the upload is gone because it became the object.
        let echo = matches!(failure.status, 404 | 412);
        if failure.status == 412 && !unclear {
            return Err(taken(client, &upload.key));
        }
        unclear |= failure.maybe_done;
        let failure = if echo {
            failure
        } else {
            match tries.wait(failure).await {
                Ok(()) => continue,
                Err(failure) => failure,
            }
        };
        if !unclear {
            return Err(failure.error);
        }
        return match (find(client, &upload.key, ours).await, mode) {
            (Ok(Found::Ours(_)), _) => Ok(()),
            (Ok(Found::Another), PutMode::CreateOnly) => Err(taken(client, &upload.key)),
            (Ok(_), _) => Err(still_unclear(failure)),
            (Err(e), _) => Err(cannot_settle(failure, &e)),
        };
    }
}

/// S3 may answer 200 before it knows, and write the error into the body.
async fn complete_once(client: &Client, request: &Request<'_>) -> Result<(), Failure> {
    let answer = client.send_small(request, ANSWER).await?;
    // Stores do not agree on the end of this name.
    if xml::root(&answer.body).is_some_and(|name| name.starts_with("CompleteMultipartUpload")) {
        return Ok(());
    }
    let mut failure = odd(client, request, &answer);
    if failure.code == "PreconditionFailed" {
        failure.status = 412;
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fit_the_limits_of_s3_and_of_memory() {
        let limits = Limits::default();
        let mib = 1u64 << 20;
        for size in [9 * mib, 1348 * mib, 78 << 30, (78 << 30) + 1, 100 << 30, 1 << 40, 5 << 40] {
            let (part, in_flight) = plan(&limits, size);
            assert!(size.div_ceil(part) <= MOST_PARTS, "{size}: too many parts of {part}");
            assert!(part >= 5 * mib && in_flight >= 1);
            let held = part * u64::try_from(in_flight).expect("small");
            assert!(held <= MEMORY || in_flight == 1, "{size}: {held} bytes in memory");
        }
        assert_eq!(plan(&limits, 1 << 30), (8 * mib, 2));
    }
}
