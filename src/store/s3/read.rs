//! Reading: small objects whole, what is known of an object, and one page of a listing.
//!
//! It exists to keep "absent" honest: only S3's own NoSuchKey says so, never a proxy's 404, an empty HEAD or a cut listing.

use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, RANGE};

use crate::core::model::Sha256;
use crate::ports::{Fetched, ObjectMeta, Page, StoreError, StoreErrorKind, StoreResult};

use super::client::{Client, Request};
use super::failure::{Again, Failure, odd};
use super::retry::Tries;
use super::{META_SHA256, META_UPLOAD, time, xml};

/// Longest page of a listing: 1000 keys of 1024 bytes, percent-encoded, fit.
const LISTING: usize = 8 << 20;

/// What the headers of a GET or HEAD say.
pub(super) fn describe(key: &str, headers: &HeaderMap, size: u64) -> ObjectMeta {
    let etag = headers.get(ETAG).and_then(|v| v.to_str().ok()).map(str::to_owned);
    ObjectMeta { key: key.to_owned(), size, etag, modified: time::modified(headers) }
}

pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn relative<'k>(client: &Client, full_key: &'k str) -> &'k str {
    client.address.relative(full_key).unwrap_or(full_key)
}

pub(super) async fn get(client: &Client, full_key: &str, limit: u64) -> StoreResult<Fetched> {
    let request = Request::new("read", Method::GET, Some(full_key));
    let mut tries = Tries::new(client, request.verb);
    loop {
        match get_once(client, &request, limit).await {
            Ok(fetched) => return Ok(fetched),
            Err(failure) => tries.wait(failure).await.map_err(|f| f.error)?,
        }
    }
}

async fn get_once(client: &Client, request: &Request<'_>, limit: u64) -> Result<Fetched, Failure> {
    let what = client.what(request);
    let mut response = client.send(request).await?;
    let headers = response.headers().clone();
    let announced = content_length(&headers);
    let too_large = |size: u64| {
        let text = format!("{what}: it has {size} bytes or more, it may have {limit}");
        Err(Failure::ours(StoreError::new(StoreErrorKind::Corrupt, text)))
    };
    if let Some(size) = announced.filter(|size| *size > limit) {
        return too_large(size);
    }
    let mut body = Vec::new();
    let mut size = 0u64;
    while let Some(chunk) = client.chunk(&mut response, &what).await? {
        size = size.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        if size > limit {
            return too_large(size);
        }
        body.extend_from_slice(&chunk);
    }
    if announced.is_some_and(|a| a != size) {
        let text = format!("{what}: {size} bytes arrived, {} were announced", announced.unwrap_or_default());
        return Err(Failure::ours(StoreError::new(StoreErrorKind::Corrupt, text)));
    }
    let meta = describe(relative(client, request.key.unwrap_or_default()), &headers, size);
    Ok(Fetched { body: body.into(), meta, store_time: time::of_answer(&headers) })
}

/// What the store knows of an object, and the digest that its writer recorded.
pub(super) struct Head {
    pub(super) meta: ObjectMeta,
    pub(super) sha256: Option<Sha256>,
    /// The mark of the upload that made it.
    pub(super) upload: Option<String>,
}

pub(super) async fn head(client: &Client, full_key: &str) -> StoreResult<Head> {
    let request = Request::new("look at", Method::HEAD, Some(full_key));
    let mut tries = Tries::new(client, request.verb);
    loop {
        let failure = match client.send(&request).await {
            Ok(response) => match shown(client, full_key, response.headers()) {
                Some(head) => return Ok(head),
                None => {
                    let text = format!("{}: the answer does not tell the size", client.what(&request));
                    return Err(StoreError::new(StoreErrorKind::Unavailable, text));
                }
            },
            Err(failure) => failure,
        };
        // The answer to a HEAD has no body, so it cannot say why: a GET of one byte can, or shows what the HEAD should have.
        let dumb = (300..500).contains(&failure.status) && failure.again == Again::No;
        let failure = match dumb {
            true => match first_byte(client, full_key).await {
                Ok(Some(head)) => return Ok(head),
                Ok(None) => failure,
                // It is there, and empty.
                Err(f) if f.status == 416 => Failure { again: Again::Later, ..failure },
                Err(f) => f,
            },
            false => failure,
        };
        tries.wait(failure).await.map_err(|f| f.error)?;
    }
}

/// What the headers of an object tell; `None` when they do not tell its size.
fn shown(client: &Client, full_key: &str, headers: &HeaderMap) -> Option<Head> {
    let size = match headers.get(CONTENT_RANGE) {
        Some(range) => range.to_str().ok()?.rsplit_once('/')?.1.trim().parse().ok()?,
        None => content_length(headers)?,
    };
    let meta = describe(relative(client, full_key), headers, size);
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    let sha256 = text(META_SHA256).and_then(|v| v.parse().ok());
    Some(Head { meta, sha256, upload: text(META_UPLOAD).map(str::to_owned) })
}

async fn first_byte(client: &Client, full_key: &str) -> Result<Option<Head>, Failure> {
    let request = Request::new("look at", Method::GET, Some(full_key)).header(RANGE, "bytes=0-0");
    let response = client.send(&request).await?;
    Ok(shown(client, full_key, response.headers()))
}

pub(super) async fn list_page(client: &Client, prefix: &str, token: Option<&str>) -> StoreResult<Page> {
    let full = client
        .address
        .full_prefix(prefix)
        .map_err(|why| StoreError::new(StoreErrorKind::Rejected, format!("the prefix {prefix:?} is refused: {why}")))?;
    let mut request = Request::new("list", Method::GET, None)
        .query("list-type", "2")
        .query("encoding-type", "url")
        .query("max-keys", client.limits.page_size.clamp(1, 1000).to_string())
        .query("prefix", full.clone());
    if let Some(token) = token {
        request = request.query("continuation-token", token);
    }
    let shown = client.address.show(&full);
    let answer = client.call_small(&request, LISTING).await.map_err(|mut f| {
        f.error.text = f.error.text.replacen(&client.address.show(""), &shown, 1);
        f.error
    })?;
    let listing = xml::listing(&answer.body).map_err(|why| {
        StoreError::new(StoreErrorKind::Unavailable, format!("cannot list {shown}: {why}")).hint(format!(
            "{} does not answer as S3 does: correct store.s3.endpoint, or look at the proxy in between",
            client.address.endpoint()
        ))
    })?;
    let mut objects: Vec<ObjectMeta> = listing
        .contents
        .into_iter()
        .filter(|c| c.key.starts_with(&full))
        .filter_map(|c| {
            let key = client.address.relative(&c.key)?.to_owned();
            let modified = c.modified.and_then(|t| t.parse().ok());
            Some(ObjectMeta { key, size: c.size, etag: c.etag, modified })
        })
        .collect();
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Page { objects, next: listing.next, store_time: time::of_answer(&answer.headers) })
}

pub(super) async fn delete(client: &Client, full_key: &str) -> StoreResult<()> {
    let request = Request::new("delete", Method::DELETE, Some(full_key));
    match client.call_small(&request, LISTING).await {
        // A page in the place of an answer: nothing tells that the store has seen the request.
        Ok(answer) if !answer.body.is_empty() => Err(odd(client, &request, &answer).error),
        Ok(_) => Ok(()),
        Err(f) if f.error.kind == StoreErrorKind::NotFound => Ok(()),
        Err(f) => Err(f.error),
    }
}
