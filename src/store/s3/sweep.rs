//! Uploads that nobody will finish: those of processes that were killed, or lost their power, in the middle.
//!
//! It exists because their parts stay in the bucket, invisible and billed. One is left alone as long as it, or the newest of its parts, is younger
//! than the age asked for, by the store's clock; without that clock nothing is removed. A store that cannot list them is left as it is.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use tokio::time::{Instant, timeout_at};

use crate::core::model::Timestamp;
use crate::ports::{StoreError, StoreErrorKind, StoreResult, Swept};
use crate::sys::random;

use super::abort::{Upload, abort};
use super::client::{Client, Request};
use super::failure::Failure;
use super::{time, xml};

/// Pages of a listing; a store that never comes to an end is no reason to ask for ever.
const PAGES: usize = 100;
const LISTING: usize = 8 << 20;

pub(super) async fn sweep(
    client: &Arc<Client>,
    prefix: &str,
    age: Duration,
    ours: &(dyn Fn(&str) -> bool + Send + Sync),
) -> StoreResult<Swept> {
    let mut swept = Swept::default();
    let until = Instant::now() + client.limits.sweep;
    let listed = timeout_at(until, unfinished(client, prefix, ours)).await;
    let Some((mut uploads, now)) = listed.unwrap_or_else(|_| Err(took_too_long(client, prefix)))? else {
        return Ok(swept);
    };
    // One at which the store fails would else keep those behind it for ever.
    let many = uploads.len();
    uploads.rotate_left(many.min((many as f64 * random::fraction()) as usize));
    let mut uploads = uploads.into_iter();
    while let Some(begun) = uploads.next() {
        let key = client.address.relative(&begun.key).unwrap_or(&begun.key);
        if !begun.initiated.is_some_and(|at| older(at, now, age)) {
            swept.kept = swept.kept.saturating_add(1);
            continue;
        }
        let upload = Upload { client: client.clone(), key: begun.key.clone(), id: begun.id };
        match timeout_at(until, remove(&upload, now, age)).await {
            Ok(Ok(Some(true))) => swept.removed.push(key.to_owned()),
            Ok(Ok(Some(false))) => swept.kept = swept.kept.saturating_add(1),
            Ok(Ok(None)) => {}
            Ok(Err(e)) => {
                let away = matches!(e.kind, StoreErrorKind::Unreachable | StoreErrorKind::Unavailable);
                swept.failed.push(e);
                if away {
                    swept.left = uploads.len();
                    break;
                }
            }
            Err(_) => {
                swept.left = uploads.len().saturating_add(1);
                break;
            }
        }
    }
    Ok(swept)
}

/// `false`: it is not old enough. `None`: it is gone already.
async fn remove(upload: &Upload, now: Timestamp, age: Duration) -> StoreResult<Option<bool>> {
    match newest_part(upload).await? {
        Parts::Newest(at) if !older(at, now, age) => Ok(Some(false)),
        Parts::Gone => Ok(None),
        Parts::Newest(_) | Parts::Unknown => abort(upload).await.map(|()| Some(true)),
    }
}

fn took_too_long(client: &Client, prefix: &str) -> StoreError {
    let (place, limit) = (client.address.location(), client.limits.sweep.as_secs());
    let text = format!("cannot list the unfinished uploads of {prefix} in {place}: it took longer than {limit} s");
    StoreError::new(StoreErrorKind::Unreachable, text)
}

/// Dates have whole seconds, so something may seem to come from the future.
fn older(at: Timestamp, now: Timestamp, age: Duration) -> bool {
    let seconds = now.as_second().saturating_sub(at.as_second()).max(0);
    seconds.unsigned_abs() >= age.as_secs()
}

/// All of ours, and the store's clock. `None`: the store cannot tell.
async fn unfinished(
    client: &Client,
    prefix: &str,
    ours: &(dyn Fn(&str) -> bool + Send + Sync),
) -> StoreResult<Option<(Vec<xml::Begun>, Timestamp)>> {
    let full = client
        .address
        .full_prefix(prefix)
        .map_err(|why| StoreError::new(StoreErrorKind::Rejected, format!("the prefix {prefix:?} is refused: {why}")))?;
    let shown = client.address.show(&full);
    let mut all = Vec::new();
    let mut from: Option<xml::Marker> = None;
    for _ in 0..PAGES {
        let mut request = Request::new("list the unfinished uploads of", Method::GET, None)
            .query("uploads", "")
            .query("encoding-type", "url")
            .query("max-uploads", client.limits.page_size.clamp(1, 1000).to_string())
            .query("prefix", full.clone());
        if let Some(marker) = &from {
            for (name, value) in [("key-marker", &marker.key), ("upload-id-marker", &marker.id)] {
                if let Some(value) = value {
                    request = request.query(name, value.as_str());
                }
            }
        }
        let answer = match client.call_small(&request, LISTING).await {
            Ok(answer) => answer,
            Err(f) if unknown(&f) => {
                tracing::debug!(error = %f.error, "the store cannot list unfinished uploads");
                return Ok(None);
            }
            Err(mut f) => {
                f.error.text = f.error.text.replacen(&client.address.show(""), &shown, 1);
                return Err(f.error);
            }
        };
        let page = match xml::uploads(&answer.body) {
            Ok(page) => page,
            Err(why) => {
                tracing::debug!("cannot list the unfinished uploads of {shown}: {why}");
                return Ok(None);
            }
        };
        let Some(now) = time::of_answer(&answer.headers) else {
            tracing::debug!(
                "the store does not tell its time, so the age of unfinished uploads in {shown} is not known"
            );
            return Ok(None);
        };
        // The bucket may hold those of others, and many.
        all.extend(page.uploads.into_iter().filter(|begun| client.address.relative(&begun.key).is_some_and(ours)));
        if page.next.is_none() || page.next == from {
            return Ok(Some((all, now)));
        }
        from = page.next;
    }
    tracing::debug!("the list of the unfinished uploads of {shown} does not end");
    Ok(None)
}

/// This request is not known to the store, or to the proxy before it.
fn unknown(failure: &Failure) -> bool {
    matches!(failure.status, 400 | 404 | 405 | 501) && failure.error.kind != StoreErrorKind::NoSuchBucket
}

enum Parts {
    Newest(Timestamp),
    Unknown,
    /// There is no such upload any more.
    Gone,
}

async fn newest_part(upload: &Upload) -> StoreResult<Parts> {
    let mut newest: Option<Timestamp> = None;
    let mut from: Option<String> = None;
    for _ in 0..PAGES {
        let mut request = Request::new("list the parts of", Method::GET, Some(&upload.key))
            .query("uploadId", upload.id.as_str())
            .query("max-parts", "1000");
        if let Some(from) = &from {
            request = request.query("part-number-marker", from.as_str());
        }
        let page = match upload.client.call_small(&request, LISTING).await {
            Ok(answer) => xml::parts(&answer.body),
            Err(f) if f.status == 404 => return Ok(Parts::Gone),
            // Not allowed or not known to this store: the upload's own age has to do.
            Err(f) if (400..500).contains(&f.status) || f.status == 501 => None,
            Err(f) => return Err(f.error),
        };
        let Some(page) = page else { break };
        newest = newest.max(page.newest);
        if page.next.is_none() || page.next == from {
            break;
        }
        from = page.next;
    }
    Ok(newest.map_or(Parts::Unknown, Parts::Newest))
}
