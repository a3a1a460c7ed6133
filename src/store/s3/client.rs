//! One attempt of one request: signed, sent, its answer judged, every wait limited.
//!
//! It exists because rust-s3's own client knows no CA of ours, no connect or idle limits, and gives no headers of an answer.
//! Sends no header but those written here and in the callers of this folder, follows no redirect, and keeps URLs and
//! signatures out of every text.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use sha2::Digest;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::ConfiguredFile;
use crate::error::{Error, Kind, Result};
use crate::ports::{Clock, StoreError, StoreErrorKind};

use crate::sys::pace::Pace;

use super::address::Address;
use super::credentials::Credentials;
use super::failure::{Failure, Refusal, SKEWED, refused};
use super::options::{Limits, S3Options};
use super::retry::Tries;
use super::{sign, skew, time, transport};

/// How much of a request's body is handed to the connection at once: the grain in which progress is seen.
const PIECE: usize = 64 << 10;
/// A person is told after this time that the store does not answer.
const SLOW: std::time::Duration = std::time::Duration::from_secs(4);
/// Longest answer that is kept of a refusal.
const REFUSAL: usize = 64 << 10;
/// In the place of a digest: the content is not part of the signature.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// SHA-256 of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(super) struct Client {
    http: reqwest::Client,
    pub(super) address: Address,
    pub(super) credentials: Credentials,
    pub(super) clock: Arc<dyn Clock>,
    /// The date to sign with.
    pub(super) date: skew::Correction,
    pub(super) limits: Limits,
    /// The flow of parts and downloads; all of them share it.
    pub(super) pace: tokio::sync::Mutex<Pace>,
    /// Aborts of cancelled uploads that are still under way.
    pub(super) aborts: Mutex<Vec<JoinHandle<()>>>,
}

/// One request. May be sent several times.
pub(super) struct Request<'a> {
    /// What it does, as in "cannot {verb} s3://...".
    pub(super) verb: &'static str,
    pub(super) method: Method,
    /// Key with folder; `None` is the bucket.
    pub(super) key: Option<&'a str>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Bytes,
    /// Hexadecimal; without it a body is not part of the signature.
    pub(super) body_sha256: Option<String>,
    /// Longer wait for the answer than `limits.answer`.
    pub(super) patient: bool,
}

impl<'a> Request<'a> {
    pub(super) fn new(verb: &'static str, method: Method, key: Option<&'a str>) -> Self {
        Request {
            verb,
            method,
            key,
            query: Vec::new(),
            headers: Vec::new(),
            body: Bytes::new(),
            body_sha256: None,
            patient: false,
        }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn body(mut self, body: Bytes) -> Self {
        self.body_sha256 = Some(hex::encode(sha2::Sha256::digest(&body)));
        self.body = body;
        self
    }
}

/// A successful answer whose body has been read.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// No bundle of certificates is larger.
const LARGEST_PEM: u64 = 4 << 20;

const CA_HINT: &str = "it must be readable for the user that runs lifeboat and hold the CA's certificate in PEM form, with the line \
    -----BEGIN CERTIFICATE-----; to look at it: openssl x509 -noout -subject -in FILE";

fn ca_certificates(file: &ConfiguredFile) -> Result<Vec<reqwest::Certificate>> {
    let wrong = |why: &str| {
        Error::new(Kind::Config, format!("store.s3.ca_file {}: {why}", file.path().display())).hint(CA_HINT)
    };
    let pem = file.read(LARGEST_PEM).map_err(|e| {
        let hint = file.hint(&e);
        wrong("it cannot be read").caused_by(e).hint(hint)
    })?;
    let certificates =
        reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| wrong("it is no PEM file").caused_by(e))?;
    if certificates.is_empty() {
        return Err(wrong("it has no certificate in it"));
    }
    Ok(certificates)
}

impl Client {
    pub(super) fn new(options: S3Options, clock: Arc<dyn Clock>) -> Result<Self> {
        let address = Address::new(&options)?;
        let limits = options.limits;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("etcd-lifeboat/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .http1_only()
            .connect_timeout(limits.connect)
            .pool_idle_timeout(std::time::Duration::from_secs(15))
            .tcp_nodelay(true)
            // What the system trusts, not a list that came with the program.
            .tls_built_in_webpki_certs(false);
        if let Some(file) = &options.ca_file {
            for certificate in ca_certificates(file)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let http = builder.build().map_err(|e| {
            let what = match &options.ca_file {
                Some(file) => format!("store.s3.ca_file {}: a certificate in it is not valid", file.path().display()),
                None => format!("cannot prepare TLS for {} with the CA certificates of this host", address.endpoint()),
            };
            Error::new(Kind::Config, what).caused_by(e.without_url()).hint(CA_HINT)
        })?;
        let credentials = Credentials::new(options.credentials, clock.clone(), limits.credentials);
        Ok(Client {
            http,
            address,
            credentials,
            clock,
            date: skew::Correction::default(),
            pace: tokio::sync::Mutex::new(Pace::new(limits.rate)),
            limits,
            aborts: Mutex::default(),
        })
    }

    /// "cannot read s3://b/k at https://h".
    pub(super) fn what(&self, request: &Request<'_>) -> String {
        format!("cannot {} {}", request.verb, self.address.show(request.key.unwrap_or_default()))
    }

    /// Sends once. Any answer but 2xx is a failure.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<reqwest::Response, Failure> {
        let what = self.what(request);
        let prepared = self.prepare(request, &what).await?;
        let sent = Arc::new(AtomicU64::new(0));
        let response = self.told(request, self.watched(request, prepared(&sent), &sent, &what)).await?;
        self.compare_clocks(response.headers());
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        // A refusal whose page breaks off is a refusal still.
        let body = self.read(response, REFUSAL, &what, true).await.unwrap_or_default();
        let head = request.method == Method::HEAD;
        let failure = refused(self, &Refusal { what, status, headers: &headers, body: &body, head });
        if failure.code == SKEWED
            && let Some(there) = time::of_answer(&headers)
        {
            self.date.learn(self.clock.now(), there);
        }
        Err(failure)
    }

    /// Sends once and reads the whole answer, at most `limit` bytes.
    pub(super) async fn send_small(&self, request: &Request<'_>, limit: usize) -> Result<Answer, Failure> {
        let response = self.send(request).await?;
        let headers = response.headers().clone();
        let body = self.read(response, limit, &self.what(request), false).await?;
        Ok(Answer { headers, body })
    }

    /// Sends until it is answered; for requests that may be sent any number of times.
    pub(super) async fn call_small(&self, request: &Request<'_>, limit: usize) -> Result<Answer, Failure> {
        let mut tries = Tries::new(self, request.verb);
        loop {
            match self.send_small(request, limit).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => tries.wait(failure).await?,
            }
        }
    }

    async fn prepare<'r>(
        &self,
        request: &'r Request<'_>,
        what: &str,
    ) -> Result<impl FnOnce(&Arc<AtomicU64>) -> reqwest::RequestBuilder + use<'r>, Failure> {
        let keys = self.credentials.get().await.map_err(|mut e| {
            e.text = format!("{what}: {}", e.text);
            Failure::ours(e)
        })?;
        let wrong = |why: String| Failure::ours(StoreError::new(StoreErrorKind::Rejected, format!("{what}: {why}")));
        let url = self.address.url(request.key, &request.query).map_err(|e| wrong(e.to_string()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let value = HeaderValue::from_str(value).map_err(|_| wrong(format!("the header {name} cannot be sent")))?;
            headers.insert(name.clone(), value);
        }
        let sha256 = match &request.body_sha256 {
            Some(sha256) => sha256.as_str(),
            None if request.body.is_empty() => EMPTY,
            None => UNSIGNED,
        };
        sign::sign(
            &request.method,
            &url,
            &mut headers,
            sha256,
            &keys,
            &self.address.region,
            self.date.of(self.clock.now()),
        )
        .map_err(|why| {
            let mut failure = wrong(why);
            failure.error.hint = Some(
                "correct store.s3.access_key, store.s3.secret_key or store.s3.session_token, or the file that holds it"
                    .to_owned(),
            );
            failure
        })?;
        if matches!(request.method, Method::PUT | Method::POST) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(request.body.len()));
        }
        let builder = self.http.request(request.method.clone(), url).headers(headers);
        Ok(
            move |sent: &Arc<AtomicU64>| {
                if request.body.is_empty() { builder } else { builder.body(pieces(request.body.clone(), sent.clone())) }
            },
        )
    }

    /// A store that only shows a wrong date goes on being used.
    fn compare_clocks(&self, headers: &HeaderMap) {
        let Some(warn) = self.limits.warn else { return };
        let there = time::of_answer(headers);
        if let Some(text) = there.and_then(|there| skew::warning(self.address.endpoint(), self.clock.now(), there)) {
            warn(&text);
        }
    }

    /// Says so when a request without content is not answered soon; what sends content shows its own progress.
    async fn told<T>(&self, request: &Request<'_>, answer: impl Future<Output = T>) -> T {
        tokio::pin!(answer);
        let Some(tell) = self.limits.tell.filter(|_| request.body.is_empty()) else { return answer.await };
        match timeout(SLOW, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                tell(&format!("still waiting: {} does not answer (to {})", self.address.endpoint(), request.verb));
                answer.await
            }
        }
    }

    /// Waits as long as bytes move.
    async fn watched(
        &self,
        request: &Request<'_>,
        builder: reqwest::RequestBuilder,
        sent: &AtomicU64,
        what: &str,
    ) -> Result<reqwest::Response, Failure> {
        let total = u64::try_from(request.body.len()).unwrap_or(u64::MAX);
        let answer = match (request.patient, total) {
            (true, _) => self.limits.complete,
            (false, 0) => self.limits.reply.min(self.limits.answer),
            // What the connection has taken may still lie in this host's buffers.
            (false, _) => self.limits.answer,
        };
        let response = builder.send();
        tokio::pin!(response);
        let mut seen = 0;
        loop {
            let all_sent = sent.load(Ordering::Relaxed) >= total;
            let limit = if all_sent { answer } else { self.limits.idle };
            match timeout(limit, &mut response).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(e)) => return Err(transport::broken(self, what, e)),
                Err(_) => {
                    let now = sent.load(Ordering::Relaxed);
                    if now == seen || (all_sent && now >= total) {
                        let phase = if now >= total { "the store did not answer" } else { "no byte could be sent" };
                        return Err(transport::stalled(what, phase, limit));
                    }
                    seen = now;
                }
            }
        }
    }

    /// The next bytes of an answer, within the idle limit; `None` at its end.
    pub(super) async fn chunk(&self, response: &mut reqwest::Response, what: &str) -> Result<Option<Bytes>, Failure> {
        match timeout(self.limits.idle, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(e)) => Err(transport::broken(self, what, e)),
            Err(_) => Err(transport::stalled(what, "no byte arrived", self.limits.idle)),
        }
    }

    async fn read(
        &self,
        mut response: reqwest::Response,
        limit: usize,
        what: &str,
        cut: bool,
    ) -> Result<Bytes, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response, what).await? {
            let room = limit.saturating_sub(body.len());
            if chunk.len() > room {
                if cut {
                    body.extend_from_slice(chunk.get(..room).unwrap_or_default());
                    break;
                }
                let text = format!("{what}: the answer has more than {limit} bytes");
                return Err(Failure::ours(StoreError::new(StoreErrorKind::Corrupt, text)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Bytes::from(body))
    }
}

/// A body in pieces, each counted when the connection takes it.
fn pieces(body: Bytes, sent: Arc<AtomicU64>) -> reqwest::Body {
    let stream = futures::stream::unfold((body, sent), |(mut rest, sent)| async move {
        if rest.is_empty() {
            return None;
        }
        let piece = rest.split_to(PIECE.min(rest.len()));
        sent.fetch_add(u64::try_from(piece.len()).unwrap_or(0), Ordering::Relaxed);
        Some((Ok::<_, std::convert::Infallible>(piece), (rest, sent)))
    });
    reqwest::Body::wrap_stream(stream)
}
