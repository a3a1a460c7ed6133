//! A download as a stream that survives broken connections.
//!
//! It exists because a store closes connections in the middle of large objects. A break is taken up by Range with If-Match,
//! so that bytes of two objects are never mixed; without progress it is taken up a bounded number of times only.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, HeaderMap, IF_MATCH, RANGE};
use tokio_util::io::StreamReader;

use crate::ports::{ObjectMeta, Opened, StoreError, StoreErrorKind, StoreResult};

use super::client::{Client, Request};
use super::failure::{Again, Failure};
use super::read;
use super::retry::Tries;

/// A stretch without a break that makes the count of breaks start anew, in bytes.
const PROGRESS: u64 = 1 << 20;

struct Download {
    client: Arc<Client>,
    full_key: String,
    meta: ObjectMeta,
    /// `None` after a break and at the end.
    response: Option<reqwest::Response>,
    at: u64,
    breaks: u32,
    broke_at: u64,
}

/// Opens an object from `offset` on.
pub(super) async fn open(client: &Arc<Client>, full_key: &str, offset: u64) -> StoreResult<Opened> {
    let mut tries = Tries::new(client, "read");
    let (response, meta) = loop {
        match first(client, full_key, offset).await {
            Ok(opened) => break opened,
            Err(failure) => tries.wait(failure).await.map_err(|f| f.error)?,
        }
    };
    let download = Download {
        client: client.clone(),
        full_key: full_key.to_owned(),
        meta: meta.clone(),
        response,
        at: offset,
        breaks: 0,
        broke_at: offset,
    };
    let chunks = stream::try_unfold(download, |mut download| async move {
        let chunk = download.next().await.map_err(io::Error::other)?;
        Ok::<_, io::Error>(chunk.map(|chunk| (chunk, download)))
    });
    Ok(Opened { meta, body: Box::pin(StreamReader::new(Box::pin(chunks))) })
}

async fn first(
    client: &Client,
    full_key: &str,
    offset: u64,
) -> Result<(Option<reqwest::Response>, ObjectMeta), Failure> {
    let relative = client.address.relative(full_key).unwrap_or(full_key);
    let mut request = Request::new("read", Method::GET, Some(full_key));
    let what = client.what(&request);
    if offset > 0 {
        request = request.header(RANGE, format!("bytes={offset}-"));
    }
    let response = match client.send(&request).await {
        Ok(response) => response,
        // Nothing behind the last byte: fine exactly there.
        Err(f) if f.status == 416 => {
            let meta = read::head(client, full_key).await.map_err(Failure::ours)?.meta;
            if meta.size == offset {
                return Ok((None, meta));
            }
            let text = format!("{what} from byte {offset} on: it has {} bytes", meta.size);
            return Err(Failure::ours(StoreError::new(StoreErrorKind::Rejected, text)));
        }
        Err(f) => return Err(f),
    };
    let headers = response.headers();
    let size =
        if offset == 0 { read::content_length(headers) } else { range(headers).filter(|r| r.0 == offset).map(|r| r.1) };
    let Some(size) = size else {
        let text = format!("{what}: the answer does not tell which bytes of how many it has");
        return Err(Failure::ours(StoreError::new(StoreErrorKind::Unavailable, text)));
    };
    let meta = read::describe(relative, headers, size);
    Ok((Some(response), meta))
}

/// First byte and whole size of `Content-Range: bytes 5-9/10`.
fn range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, size) = text.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, size.trim().parse().ok()?))
}

impl Download {
    async fn next(&mut self) -> StoreResult<Option<Bytes>> {
        loop {
            if self.at >= self.meta.size {
                return Ok(None);
            }
            let failure = match self.pull().await {
                Ok(chunk) => {
                    self.client.pace.lock().await.pass(chunk.len()).await;
                    return Ok(Some(chunk));
                }
                Err(failure) => failure,
            };
            self.response = None;
            self.resume(failure).await?;
        }
    }

    async fn pull(&mut self) -> Result<Bytes, Failure> {
        let what = self.what();
        let Some(response) = &mut self.response else { return Err(self.ended(&what)) };
        loop {
            let Some(chunk) = self.client.chunk(response, &what).await? else { return Err(self.ended(&what)) };
            if chunk.is_empty() {
                continue;
            }
            self.at = self.at.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if self.at > self.meta.size {
                let text = format!("{what}: more than its {} bytes arrived", self.meta.size);
                return Err(Failure::ours(StoreError::new(StoreErrorKind::Corrupt, text)));
            }
            return Ok(chunk);
        }
    }

    fn what(&self) -> String {
        format!("cannot read {}", self.client.address.show(&self.full_key))
    }

    fn ended(&self, what: &str) -> Failure {
        let text = format!("{what}: it ended after {} of {} bytes", self.at, self.meta.size);
        let mut failure = Failure::ours(StoreError::new(StoreErrorKind::Unreachable, text));
        failure.again = Again::Later;
        failure
    }

    /// Puts a new response in place, from the byte where the old one broke.
    async fn resume(&mut self, mut failure: Failure) -> StoreResult<()> {
        if self.at.saturating_sub(self.broke_at) >= PROGRESS {
            self.breaks = 0;
        }
        self.broke_at = self.at;
        let client = self.client.clone();
        let mut tries = Tries::new(&client, "read on");
        loop {
            let Some(etag) = self.meta.etag.clone().filter(|_| failure.again != Again::No) else {
                return Err(failure.error);
            };
            if self.breaks >= client.limits.resumes {
                failure.error.text.push_str(&format!(" (broken at byte {}, taken up {} times)", self.at, self.breaks));
                return Err(failure.error);
            }
            self.breaks = self.breaks.saturating_add(1);
            tries.wait(failure).await.map_err(|f| f.error)?;
            match self.request_rest(&etag).await {
                Ok(response) => {
                    self.response = Some(response);
                    return Ok(());
                }
                Err(f) => failure = f,
            }
        }
    }

    async fn request_rest(&self, etag: &str) -> Result<reqwest::Response, Failure> {
        let request = Request::new("read", Method::GET, Some(&self.full_key))
            .header(RANGE, format!("bytes={}-", self.at))
            .header(IF_MATCH, etag);
        let response = match self.client.send(&request).await {
            Ok(response) => response,
            Err(f) if f.status == 412 || f.status == 416 => return Err(self.changed()),
            Err(f) => return Err(f),
        };
        let same = read::describe("", response.headers(), 0).etag.is_none_or(|e| e == etag);
        if !same || range(response.headers()) != Some((self.at, self.meta.size)) {
            return Err(self.changed());
        }
        Ok(response)
    }

    fn changed(&self) -> Failure {
        let text = format!("{}: it was replaced while it was read", self.what());
        Failure::ours(StoreError::new(StoreErrorKind::Corrupt, text).hint("read it again from the start"))
    }
}
