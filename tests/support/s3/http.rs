//! Connections: HTTP/1.1, with or without TLS, and the place where faults happen.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, DATE};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, StdError, s3_error};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::fault::{Fault, Faults, Op};
use super::state::Backend;

type Answer = Response<UnsyncBoxBody<Bytes, StdError>>;

/// The one credential, with the error codes that real stores use.
pub(super) struct OneKey {
    id: String,
    secret: String,
}

impl OneKey {
    pub(super) fn new(id: &str, secret: &str) -> OneKey {
        OneKey { id: id.to_owned(), secret: secret.to_owned() }
    }
}

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.id {
            return Ok(SecretKey::from(self.secret.as_str()));
        }
        Err(s3_error!(InvalidAccessKeyId, "The AWS Access Key Id you provided does not exist in our records."))
    }
}

/// What a connection needs.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) service: s3s::service::S3Service,
    pub(super) backend: Arc<Backend>,
    pub(super) faults: Arc<Faults>,
    pub(super) tls: Option<TlsAcceptor>,
}

/// Why a connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the test wants this connection to break")]
struct Break;

impl Site {
    /// Accepts until the task is aborted; the connections end with it.
    pub(super) async fn serve(self, listener: std::net::TcpListener) {
        let listener = TcpListener::from_std(listener).expect("a listener on the server's runtime");
        let mut connections = JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            connections.spawn(self.clone().connection(stream));
            while connections.try_join_next().is_some() {}
        }
    }

    async fn connection(self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        // A second handle on the socket, to make its close a reset.
        let Ok(handle) = stream.as_fd().try_clone_to_owned().map(Arc::new) else { return };
        match self.tls.clone() {
            None => self.requests(stream, handle).await,
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    self.requests(stream, handle).await;
                }
            }
        }
    }

    async fn requests<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, io: I, handle: Arc<OwnedFd>) {
        let service = hyper::service::service_fn(move |request| {
            let (site, handle) = (self.clone(), handle.clone());
            async move {
                let answer = site.answer(request).await;
                match answer {
                    Ok(answer) if answer.extensions().get::<CutMark>().is_none() => Ok(answer),
                    Ok(answer) => {
                        reset_on_close(&handle);
                        Ok(answer)
                    }
                    Err(e) => {
                        reset_on_close(&handle);
                        Err(e)
                    }
                }
            }
        });
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Break> {
        let (op, key) = classify(&request);
        let unsigned = request.headers().get("x-amz-content-sha256").is_some_and(|v| v == "UNSIGNED-PAYLOAD");
        let fault = self.faults.judge(op, &key, unsigned);
        let mut answer = match &fault {
            Some(Fault::Reset) => return Err(Break),
            Some(Fault::Hang) => return std::future::pending().await,
            Some(Fault::Status(status, code)) => {
                drain(request).await;
                error_document(*status, code)
            }
            Some(Fault::ErrorIn200(code)) => {
                drain(request).await;
                error_document(200, code)
            }
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(*time).await;
                self.carry_out(request).await?
            }
            _ => self.carry_out(request).await?,
        };
        match fault {
            Some(Fault::LoseAnswer) => return Err(Break),
            Some(Fault::HangAnswer) => return std::future::pending().await,
            Some(Fault::CutBody(n)) => {
                answer = answer.map(|body| cut(body, n, true));
                answer.extensions_mut().insert(CutMark);
            }
            Some(Fault::StallBody(n)) => answer = answer.map(|body| cut(body, n, false)),
            Some(Fault::FlipBit(n)) => answer = answer.map(|body| flip(body, n)),
            _ => {}
        }
        if self.backend.skew.load(Ordering::SeqCst) != 0
            && let Ok(now) = jiff::Timestamp::try_from(self.backend.now())
            && let Ok(value) = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string().parse()
        {
            answer.headers_mut().insert(DATE, value);
        }
        Ok(answer)
    }

    async fn carry_out(&self, request: Request<Incoming>) -> Result<Answer, Break> {
        // The task goes on when the client has gone, as a real server's does.
        let service = self.service.clone();
        let work = tokio::spawn(async move { service.call(request.map(s3s::Body::from)).await });
        let answer = work.await.map_err(|_| Break)?.map_err(|_| Break)?;
        Ok(answer.map(|body| body.boxed_unsync()))
    }
}

/// Marks an answer whose connection is to be reset when it breaks.
#[derive(Clone, Copy)]
struct CutMark;

fn reset_on_close(handle: &OwnedFd) {
    let _ = setsockopt(&handle, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 });
}

async fn drain(request: Request<Incoming>) {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
}

fn error_document(status: u16, code: &str) -> Answer {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>the test wants this</Message><RequestId>0</RequestId></Error>"
    );
    let length = text.len();
    let body = BodyExt::map_err(Full::new(Bytes::from(text)), |e: Infallible| match e {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status.try_into().expect("an HTTP status");
    answer.headers_mut().insert("content-type", "application/xml".parse().expect("a header"));
    answer.headers_mut().insert(CONTENT_LENGTH, length.into());
    answer
}

fn data(body: UnsyncBoxBody<Bytes, StdError>) -> impl futures::Stream<Item = Result<Bytes, StdError>> + Send {
    body.into_data_stream()
}

fn cut(body: UnsyncBoxBody<Bytes, StdError>, n: usize, end: bool) -> UnsyncBoxBody<Bytes, StdError> {
    let mut left = n;
    let head = data(body)
        .map_ok(move |chunk| {
            let chunk = chunk.slice(..chunk.len().min(left));
            left -= chunk.len();
            (chunk, left)
        })
        .scan(false, |done, item| {
            let over = *done;
            *done = !matches!(item, Ok((_, left)) if left > 0);
            futures::future::ready((!over).then_some(item))
        })
        .map_ok(|(chunk, _)| Frame::data(chunk));
    let tail = futures::stream::once(async move {
        // What was sent before should reach the client first.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        if !end {
            std::future::pending::<()>().await;
        }
        Err(StdError::from(Break))
    });
    StreamBody::new(head.chain(tail)).boxed_unsync()
}

fn flip(body: UnsyncBoxBody<Bytes, StdError>, at: usize) -> UnsyncBoxBody<Bytes, StdError> {
    let mut before = 0;
    let stream = data(body).map_ok(move |chunk| {
        let start = before;
        before += chunk.len();
        let mut chunk = chunk.to_vec();
        if let Some(byte) = at.checked_sub(start).and_then(|i| chunk.get_mut(i)) {
            *byte ^= 1;
        }
        Frame::data(Bytes::from(chunk))
    });
    StreamBody::new(stream).boxed_unsync()
}

/// What a request asks for, and its key (the prefix for a listing).
fn classify(request: &Request<Incoming>) -> (Op, String) {
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let value = |name: &str| query.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    let path = request.uri().path().trim_start_matches('/');
    let (_, key) = path.split_once('/').unwrap_or((path, ""));
    let key = percent_decoded(key);
    let in_upload = value("uploadId").is_some();
    if key.is_empty() {
        let prefix = value("prefix").unwrap_or_default();
        return match *request.method() {
            Method::GET if value("uploads").is_some() => (Op::ListUploads, prefix),
            Method::GET if value("list-type").is_some() => (Op::List, prefix),
            _ => (Op::Other, prefix),
        };
    }
    let op = match *request.method() {
        Method::PUT if in_upload => Op::UploadPart,
        Method::PUT => Op::Put,
        Method::GET if in_upload => Op::Other,
        Method::GET => Op::Get,
        Method::HEAD => Op::Head,
        Method::DELETE if in_upload => Op::AbortUpload,
        Method::DELETE => Op::Delete,
        Method::POST if value("uploads").is_some() => Op::CreateUpload,
        Method::POST if in_upload => Op::CompleteUpload,
        _ => Op::Other,
    };
    (op, key)
}

fn percent_decoded(text: &str) -> String {
    // '+' and '&' are themselves in a path; only a query reads them otherwise.
    let escaped = text.replace('+', "%2B").replace('&', "%26");
    url::form_urlencoded::parse(format!("k={escaped}").as_bytes())
        .next()
        .map(|(_, v)| v.into_owned())
        .unwrap_or_default()
}
