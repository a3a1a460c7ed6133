//! Writing in one request, and finding out what became of a write whose answer was lost.
//!
//! It exists because "no answer" is neither success nor failure: an unclear write is settled by reading back, never
//! assumed. A create-only write whose content is found in place is ours: callers put a nonce into what they compete for.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ETAG, HeaderName, IF_NONE_MATCH};
use tokio::io::AsyncReadExt;

use crate::core::model::Sha256;
use crate::ports::{ObjectMeta, PutMode, StoreError, StoreErrorKind, StoreResult};

use std::sync::Arc;

use super::client::{Answer, Client, Request};
use super::failure::{Again, Failure, odd};
use super::retry::Tries;
use super::{META_SHA256, read, stream, time, xml};

/// What a store answers to a write; longer is none.
const ANSWER: usize = 64 << 10;

/// How our content is known again.
pub(super) enum Ours<'a> {
    /// Byte by byte.
    Body(&'a Bytes),
    /// By size and digest.
    Digest(u64, &'a Sha256),
    /// By size and the mark that its upload was begun with.
    Upload(u64, &'a str, &'a Sha256),
}

/// What lies at a key.
pub(super) enum Found {
    Ours(ObjectMeta),
    Another,
    Nothing,
}

/// Puts `body` whole. With a `digest`, which is that of the body, it is recorded as metadata.
pub(super) async fn put(
    client: &Arc<Client>,
    full_key: &str,
    body: Bytes,
    mode: PutMode,
    digest: Option<&Sha256>,
) -> StoreResult<ObjectMeta> {
    let size = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let mut request = Request::new("write", Method::PUT, Some(full_key));
    match digest {
        // It was taken of these very bytes.
        Some(digest) => (request.body, request.body_sha256) = (body.clone(), Some(digest.to_string())),
        None => request = request.body(body.clone()),
    }
    if mode == PutMode::CreateOnly {
        request = request.header(IF_NONE_MATCH, "*");
    }
    if let Some(digest) = digest {
        request = request.header(HeaderName::from_static(META_SHA256), digest.to_string());
    }
    let ours = match digest {
        Some(digest) => Ours::Digest(size, digest),
        None => Ours::Body(&body),
    };
    let mut tries = Tries::new(client, request.verb);
    let mut unclear = false;
    loop {
        let mut failure = match client.send_small(&request, ANSWER).await {
            Ok(answer) if answer.headers.contains_key(ETAG) && xml::error(&answer.body).is_none() => {
                return Ok(written(client, full_key, &answer, size));
            }
            Ok(answer) => {
                let failure = odd(client, &request, &answer);
                // A store without ETags shows it at once.
                if failure.code.is_empty()
                    && let Ok(Found::Ours(meta)) = find(client, full_key, &ours).await
                {
                    return Ok(meta);
                }
                failure
            }
            Err(failure) => failure,
        };
        unclear |= failure.maybe_done;
        if mode == PutMode::CreateOnly && matches!(failure.status, 412 | 409) {
            if failure.status == 412 && !unclear {
                return Err(taken(client, full_key));
            }
            match find(client, full_key, &ours).await {
                Ok(Found::Ours(meta)) if unclear => return Ok(meta),
                Ok(Found::Ours(_) | Found::Another) => return Err(taken(client, full_key)),
                Ok(Found::Nothing) => failure.again = Again::Later,
                Err(e) => return Err(cannot_settle(failure, &e)),
            }
        }
        let Err(failure) = tries.wait(failure).await else { continue };
        if !unclear {
            return Err(failure.error);
        }
        return match (find(client, full_key, &ours).await, mode) {
            (Ok(Found::Ours(meta)), _) => Ok(meta),
            (Ok(Found::Another), PutMode::CreateOnly) => Err(taken(client, full_key)),
            (Ok(_), _) => Err(still_unclear(failure)),
            (Err(e), _) => Err(cannot_settle(failure, &e)),
        };
    }
}

fn written(client: &Client, full_key: &str, answer: &Answer, size: u64) -> ObjectMeta {
    let relative = client.address.relative(full_key).unwrap_or(full_key);
    let mut meta = read::describe(relative, &answer.headers, size);
    // The answer to a write has no Last-Modified; it was written when it was answered.
    meta.modified = meta.modified.or(time::of_answer(&answer.headers));
    meta
}

pub(super) fn taken(client: &Client, full_key: &str) -> StoreError {
    StoreError::new(StoreErrorKind::AlreadyExists, format!("{} exists already", client.address.show(full_key)))
}

/// The write may still take effect.
pub(super) fn still_unclear(failure: Failure) -> StoreError {
    let mut e = failure.error;
    e.kind = StoreErrorKind::Unclear;
    e.text.push_str("; whether it was written is not clear (it was not there a moment later)");
    e
}

pub(super) fn cannot_settle(failure: Failure, settle: &StoreError) -> StoreError {
    let mut e = failure.error;
    e.kind = StoreErrorKind::Unclear;
    e.text.push_str(&format!("; whether it was written cannot be found out: {settle}"));
    e
}

/// Looks whether what lies at the key is what we wrote.
pub(super) async fn find(client: &Arc<Client>, full_key: &str, ours: &Ours<'_>) -> StoreResult<Found> {
    let found = match ours {
        Ours::Body(body) => {
            let limit = u64::try_from(body.len()).unwrap_or(u64::MAX);
            read::get(client, full_key, limit).await.map(|f| (f.body == **body).then_some(f.meta))
        }
        Ours::Digest(size, digest) => find_digest(client, full_key, *size, digest).await,
        Ours::Upload(size, mark, digest) => match read::head(client, full_key).await {
            Ok(head) if head.upload.is_none() => find_digest(client, full_key, *size, digest).await,
            other => other.map(|h| (h.meta.size == *size && h.upload.as_deref() == Some(*mark)).then_some(h.meta)),
        },
    };
    match found {
        Ok(Some(meta)) => Ok(Found::Ours(meta)),
        Ok(None) => Ok(Found::Another),
        // Longer than ours.
        Err(e) if e.kind == StoreErrorKind::Corrupt => Ok(Found::Another),
        Err(e) if e.kind == StoreErrorKind::NotFound => Ok(Found::Nothing),
        Err(e) => Err(e),
    }
}

async fn find_digest(
    client: &Arc<Client>,
    full_key: &str,
    size: u64,
    digest: &Sha256,
) -> StoreResult<Option<ObjectMeta>> {
    let head = read::head(client, full_key).await?;
    if head.meta.size != size {
        return Ok(None);
    }
    let stored = match head.sha256 {
        Some(stored) => stored,
        // A store that drops metadata: the content itself has to tell.
        None => stored_digest(client, full_key).await?,
    };
    Ok((stored == *digest).then_some(head.meta))
}

async fn stored_digest(client: &Arc<Client>, full_key: &str) -> StoreResult<Sha256> {
    use sha2::Digest;
    let mut body = stream::open(client, full_key, 0).await?.body;
    let mut digest = sha2::Sha256::new();
    let mut buffer = vec![0u8; 256 << 10];
    loop {
        let n = body.read(&mut buffer).await.map_err(|e| {
            let text = format!("cannot read back {}", client.address.show(full_key));
            StoreError::new(StoreErrorKind::Unreachable, text).caused_by(e)
        })?;
        if n == 0 {
            return Ok(Sha256(digest.finalize().into()));
        }
        digest.update(buffer.get(..n).unwrap_or_default());
    }
}

/// The last step of every upload of a file: the store itself shows size and digest.
pub(super) async fn confirm(client: &Arc<Client>, full_key: &str, ours: &Ours<'_>) -> StoreResult<ObjectMeta> {
    let wanted = match ours {
        Ours::Body(body) => format!("{} bytes", body.len()),
        Ours::Digest(size, digest) | Ours::Upload(size, _, digest) => format!("{size} bytes of ours (sha256 {digest})"),
    };
    match find(client, full_key, ours).await? {
        Found::Ours(meta) => Ok(meta),
        Found::Another | Found::Nothing => Err(StoreError::new(
            StoreErrorKind::Corrupt,
            format!(
                "{}: the store confirmed the upload, but does not show {wanted} there",
                client.address.show(full_key)
            ),
        )
        .hint("another writer may use the same key, or the store lost it: run lifeboat doctor")),
    }
}
