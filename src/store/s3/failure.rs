//! What a failed request means: kind for callers, words for people, and whether it may be sent again.
//!
//! It exists so that one table decides this for every operation. Texts are built from the operation, the object, the
//! status, and the store's own code and message; URLs and headers, which are signed, never enter them.
//! Codes: Amazon S3 API Reference, "Error responses".

use std::time::Duration;

use reqwest::header::HeaderMap;

use crate::core::model::Timestamp;
use crate::ports::{StoreError, StoreErrorKind as Kind};

use super::client::{Answer, Client, Request};
use super::{skew, time, xml};

/// What S3 says to a date in the signature that is too far from its own.
pub(super) const SKEWED: &str = "RequestTimeTooSkewed";

/// Whether the same request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    No,
    Later,
    /// Once, with fresh credentials and a fresh date.
    SignAnew,
}

/// One failed attempt.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: StoreError,
    /// 0 when there was no answer.
    pub(super) status: u16,
    /// S3's error code; empty when there was none.
    pub(super) code: String,
    pub(super) again: Again,
    /// The store may have done what was asked nevertheless.
    pub(super) maybe_done: bool,
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that did not come from the store: sending again would change nothing.
    pub(super) fn ours(error: StoreError) -> Self {
        Failure { error, status: 0, code: String::new(), again: Again::No, maybe_done: false, retry_after: None }
    }
}

/// An answer that was not a success.
pub(super) struct Refusal<'a> {
    /// As in "cannot read s3://b/k at https://h".
    pub(super) what: String,
    pub(super) status: u16,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    /// A HEAD request: no body can be expected.
    pub(super) head: bool,
}

/// A success that says something else: an error, or what no store would say, such as a login page. Whether the store has seen the request is open.
pub(super) fn odd(client: &Client, request: &Request<'_>, answer: &Answer) -> Failure {
    let what = client.what(request);
    let mut failure =
        refused(client, &Refusal { what, status: 200, headers: &answer.headers, body: &answer.body, head: false });
    failure.maybe_done = true;
    if failure.code.is_empty() {
        failure.again = Again::Later;
        failure.error.kind = Kind::Unavailable;
        failure.error.hint = Some(format!(
            "{} does not answer as S3 does: correct store.s3.endpoint, or look at the proxy in between",
            client.address.endpoint()
        ));
    }
    failure
}

struct Meaning {
    kind: Kind,
    again: Again,
    maybe_done: bool,
    hint: Option<String>,
}

/// Judges an answer.
pub(super) fn refused(client: &Client, refusal: &Refusal<'_>) -> Failure {
    let document = xml::error(refusal.body);
    let known = document.is_some();
    let document = document.unwrap_or_default();
    let code = printable(&document.code, 60);
    let message = printable(&document.message, 300);
    // A refusal of Amazon's says it twice.
    let there = time::of_answer(refusal.headers).or_else(|| document.server_time.as_deref()?.parse().ok());
    let mut meaning = judge(client, refusal, known, &code, &document, there);
    let mut text = format!("{}: the store answered {}", refusal.what, refusal.status);
    if known {
        text.push_str(&format!(" {code}"));
        if !message.is_empty() {
            text.push_str(&format!(" ({})", message.trim_end_matches('.')));
        }
    } else if !refusal.head && !refusal.body.is_empty() {
        let page = printable(&String::from_utf8_lossy(refusal.body), 120);
        text.push_str(&format!(" with something that is no S3 answer ({page:?})"));
    }
    let here = client.clock.now();
    if let Some((seconds, there)) = there.and_then(|there| Some((skew::notable(here, there)?, there)))
        && matches!(refusal.status, 400..=403)
        && !matches!(meaning.kind, Kind::NotFound)
    {
        // Any of them may be about the date in the signature.
        text.push_str(&format!("; this host's clock and the store's differ by {seconds} s"));
        if code != SKEWED {
            let other = meaning.hint.take().map(|hint| format!("; if they agree: {hint}")).unwrap_or_default();
            meaning.hint = Some(format!("{}: {}{other}", skew::words(here, there), skew::REMEDY));
        }
    }
    let mut error = StoreError::new(meaning.kind, text);
    error.hint = meaning.hint;
    Failure {
        error,
        status: refusal.status,
        code,
        again: meaning.again,
        maybe_done: meaning.maybe_done,
        retry_after: retry_after(refusal.headers),
    }
}

fn judge(
    client: &Client,
    refusal: &Refusal<'_>,
    known: bool,
    code: &str,
    document: &xml::ErrorDocument,
    there: Option<Timestamp>,
) -> Meaning {
    let address = &client.address;
    let (bucket, endpoint) = (&address.bucket, address.endpoint());
    let no = |kind, hint: String| Meaning { kind, again: Again::No, maybe_done: false, hint: Some(hint) };
    let region = refusal.headers.get("x-amz-bucket-region").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let region = region.or_else(|| document.region.clone()).map(|r| printable(&r, 40));
    match (code, refusal.status) {
        ("NoSuchKey", _) => Meaning { kind: Kind::NotFound, again: Again::No, maybe_done: false, hint: None },
        ("NoSuchBucket", _) => no(
            Kind::NoSuchBucket,
            format!("create the bucket {bucket:?} at {endpoint}, or correct store.s3.bucket or store.s3.endpoint"),
        ),
        ("NoSuchUpload", _) => no(
            Kind::Unavailable,
            "the upload was aborted meanwhile, by a person or a lifecycle rule of the bucket; send it again".to_owned(),
        ),
        ("InvalidAccessKeyId", _) => {
            no(Kind::Denied, format!("{endpoint} does not know this key id: correct store.s3.access_key"))
        }
        ("SignatureDoesNotMatch", _) => no(
            Kind::Denied,
            "the secret does not belong to the key id: correct store.s3.secret_key or its file (look for a line break or blank in it)".to_owned(),
        ),
        ("ExpiredToken" | "TokenRefreshRequired" | "RequestExpired", _) => Meaning {
            kind: Kind::Denied,
            again: Again::SignAnew,
            maybe_done: false,
            hint: Some("the temporary credentials have expired: renew them, or let this host use its instance role".to_owned()),
        },
        (SKEWED, _) => {
            let hint = match there {
                Some(there) => format!("{}: {}", skew::words(client.clock.now(), there), skew::REMEDY),
                None => format!("this host's clock says {}, and the store finds that wrong: {}", seconds(client.clock.now()), skew::REMEDY),
            };
            Meaning { kind: Kind::Rejected, again: Again::SignAnew, maybe_done: false, hint: Some(hint) }
        }
        ("PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _)
        | (_, 301 | 302 | 303 | 307 | 308) => {
            let wanted = document.endpoint.as_deref().map(|e| printable(e, 100));
            let hint = match (region, wanted) {
                (Some(region), _) if region != address.region.to_string() => format!(
                    "the bucket is in region {region}: set store.s3.region = \"{region}\" and an endpoint of that region (now: {} at {endpoint})",
                    address.region
                ),
                (_, Some(wanted)) => format!("the bucket is reached at {wanted}: set store.s3.endpoint and store.s3.region for it"),
                _ => format!(
                    "redirects are not followed; correct store.s3.endpoint and store.s3.region (now: {} at {endpoint})",
                    address.region
                ),
            };
            no(Kind::Rejected, hint)
        }
        ("SecondLevelDomainForbidden" | "PathStyleDomainForbidden", _) => {
            no(Kind::Rejected, format!("{endpoint} wants the bucket in its host name: set store.s3.path_style = false"))
        }
        ("InvalidBucketName", _) => no(Kind::Rejected, "correct store.s3.bucket".to_owned()),
        ("QuotaExceeded" | "XMinioStorageFull" | "StorageFull" | "InsufficientStorage", _) | (_, 507) => Meaning {
            kind: Kind::Unavailable,
            again: Again::Later,
            maybe_done: false,
            hint: Some("the store is full: lifeboat prune --dry-run shows what could go".to_owned()),
        },
        ("BadDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody", _) => Meaning {
            kind: Kind::Corrupt,
            again: Again::Later,
            maybe_done: false,
            hint: Some("bytes changed on their way: suspect a proxy, or the memory of this host".to_owned()),
        },
        ("RequestTimeout", _) | (_, 408) => {
            Meaning { kind: Kind::Unavailable, again: Again::Later, maybe_done: true, hint: None }
        }
        ("SlowDown" | "TooManyRequests" | "RequestLimitExceeded", _) | (_, 429) => Meaning {
            kind: Kind::Unavailable,
            again: Again::Later,
            maybe_done: false,
            hint: Some(format!("{endpoint} has too much to do; try again later, or raise its limits")),
        },
        ("NotImplemented", _) | (_, 501) => {
            no(Kind::Rejected, format!("{endpoint} lacks a part of S3 that lifeboat needs: lifeboat doctor tells which"))
        }
        (_, 412) => Meaning { kind: Kind::AlreadyExists, again: Again::No, maybe_done: false, hint: None },
        (_, 409) => Meaning { kind: Kind::Unavailable, again: Again::Later, maybe_done: true, hint: None },
        ("InternalError" | "ServiceUnavailable", _) | (_, 500..=599) => Meaning {
            kind: Kind::Unavailable,
            again: Again::Later,
            maybe_done: true,
            hint: Some(format!("the trouble is in the store, or in a proxy before it: look at the state of {endpoint}")),
        },
        (_, 401 | 403) => no(
            Kind::Denied,
            format!(
                "grant the key s3:ListBucket on the bucket {bucket:?} and s3:GetObject, s3:PutObject, s3:AbortMultipartUpload (to prune also s3:DeleteObject) \
                 on its objects; without s3:ListBucket, S3 answers so for an object that does not exist, too"
            ),
        ),
        (_, 404) if !known => Meaning {
            kind: Kind::Unavailable,
            again: Again::No,
            maybe_done: false,
            hint: Some(format!("{endpoint} does not answer as S3 does: correct store.s3.endpoint, or look at the proxy in between")),
        },
        (_, 400) if mixed_up(refusal.body) => {
            no(Kind::Rejected, format!("{endpoint} expects TLS: remove store.s3.insecure and http:// from store.s3.endpoint"))
        }
        _ => Meaning { kind: Kind::Rejected, again: Again::No, maybe_done: false, hint: None },
    }
}

/// What Go's and nginx' servers say to plain http on their TLS port.
fn mixed_up(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).to_lowercase();
    text.contains("http request to an https server") || text.contains("plain http request was sent to https port")
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get("retry-after")?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn seconds(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A foreign text as part of ours: one line, no control characters, bounded.
pub(super) fn printable(text: &str, longest: usize) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(longest).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}
