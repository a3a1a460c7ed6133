//! The store behind a clock that can be wrong. No clock is set: the dates of its answers are shifted.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, HeaderValue, LAST_MODIFIED};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify};

use super::net::STORE;
use super::s3_client::enter_network;

type Body = BoxBody<Bytes, hyper::Error>;
type Sender = hyper::client::conn::http1::SendRequest<Incoming>;

/// Servers refuse requests that were signed further away from their own time than this.
const TOLERANCE: i64 = 900;

/// An endpoint that passes everything on to the store, and moves `Date`, `Last-Modified` and the dates of listings.
pub struct ClockProxy {
    endpoint: String,
    clock: Arc<Clock>,
}

#[derive(Default)]
struct Clock {
    /// Seconds by which the store's clock is ahead.
    ahead: AtomicI64,
    /// Whether requests from another time are refused.
    strict: AtomicBool,
    over: Notify,
}

impl ClockProxy {
    pub(super) fn start(address: &str, port: u16, behind: u16) -> ClockProxy {
        let clock = Arc::new(Clock::default());
        let (listen, upstream) = (format!("{address}:{port}"), format!("{address}:{behind}"));
        let endpoint = format!("http://{listen}");
        let (ready, is_ready) = std::sync::mpsc::channel();
        let shared = Arc::clone(&clock);
        std::thread::spawn(move || {
            enter_network(STORE);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind(&listen).await.expect("the port of the clock proxy");
                let _ = ready.send(());
                tokio::select! {
                    () = serve(listener, upstream, Arc::clone(&shared)) => {}
                    () = shared.over.notified() => {}
                }
            });
        });
        is_ready.recv_timeout(Duration::from_secs(10)).expect("the clock proxy listens");
        ClockProxy { endpoint, clock }
    }

    /// URL for hosts.
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// From now on the store's clock is ahead by this many seconds (behind, when negative).
    pub fn shift(&self, seconds: i64) {
        self.clock.ahead.store(seconds, Ordering::SeqCst);
    }

    /// Whether requests that were signed more than 15 minutes away from the store's time are answered with
    /// 403 `RequestTimeTooSkewed`, as most servers do. Off at first.
    pub fn refuse_skewed(&self, refuse: bool) {
        self.clock.strict.store(refuse, Ordering::SeqCst);
    }

    pub(super) fn stop(&self) {
        self.clock.over.notify_one();
    }
}

async fn serve(listener: TcpListener, upstream: String, clock: Arc<Clock>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (upstream, clock) = (upstream.clone(), Arc::clone(&clock));
        tokio::spawn(async move {
            // One connection to the store for each of a client; none there means none here.
            let Ok(behind) = TcpStream::connect(&upstream).await else { return };
            let Ok((sender, connection)) = hyper::client::conn::http1::handshake(TokioIo::new(behind)).await else {
                return;
            };
            tokio::spawn(connection);
            let sender = Arc::new(Mutex::new(sender));
            let service = service_fn(move |request| pass(request, Arc::clone(&sender), Arc::clone(&clock)));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn pass(
    request: Request<Incoming>,
    sender: Arc<Mutex<Sender>>,
    clock: Arc<Clock>,
) -> Result<Response<Body>, hyper::Error> {
    let ahead = clock.ahead.load(Ordering::SeqCst);
    if clock.strict.load(Ordering::SeqCst)
        && let Some(refusal) = refuse(&request, ahead)
    {
        return Ok(refusal);
    }
    let mut sender = sender.lock().await;
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    drop(sender);
    let (mut head, body) = answer.into_parts();
    for name in [DATE, LAST_MODIFIED] {
        if let Some(moved) = head.headers.get(&name).and_then(|v| shift_http_date(v.to_str().ok()?, ahead)) {
            head.headers.insert(name, moved);
        }
    }
    let is_xml = head.headers.get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().ends_with(b"xml"));
    if !is_xml || ahead == 0 {
        return Ok(Response::from_parts(head, body.boxed()));
    }
    let text = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
    let text = shift_listing(&text, ahead);
    if head.headers.contains_key(CONTENT_LENGTH) {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    }
    Ok(Response::from_parts(head, full(text)))
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed()
}

/// The answer of a server whose clock is `ahead`, when the request's own time is too far from it.
fn refuse(request: &Request<Incoming>, ahead: i64) -> Option<Response<Body>> {
    let server = Timestamp::now() + SignedDuration::from_secs(ahead);
    let signed = request_time(request)?;
    if server.duration_since(signed).as_secs().abs() <= TOLERANCE {
        return None;
    }
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>RequestTimeTooSkewed</Code>\
         <Message>The difference between the request time and the server's time is too large.</Message>\
         <ServerTime>{server:.0}</ServerTime></Error>"
    );
    let mut answer = Response::new(full(text));
    *answer.status_mut() = StatusCode::FORBIDDEN;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer.headers_mut().insert(DATE, http_date(server)?);
    Some(answer)
}

/// `x-amz-date`, in the header or, for presigned requests, in the query.
fn request_time(request: &Request<Incoming>) -> Option<Timestamp> {
    let header = request.headers().get(HeaderName::from_static("x-amz-date")).and_then(|v| v.to_str().ok());
    let query = request.uri().query().unwrap_or_default().split('&').find_map(|p| p.strip_prefix("X-Amz-Date="));
    let stamp = header.or(query)?;
    jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", stamp)
        .ok()?
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()
        .map(|z| z.timestamp())
}

const HTTP_DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";

fn http_date(time: Timestamp) -> Option<HeaderValue> {
    HeaderValue::from_str(&time.strftime(HTTP_DATE).to_string()).ok()
}

fn shift_http_date(date: &str, ahead: i64) -> Option<HeaderValue> {
    let time =
        jiff::civil::DateTime::strptime(HTTP_DATE, date).ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    http_date(time + SignedDuration::from_secs(ahead))
}

/// Moves what stands in each `<LastModified>` of a listing.
fn shift_listing(text: &str, ahead: i64) -> String {
    const OPEN: &str = "<LastModified>";
    let mut parts = text.split(OPEN);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (stamp, rest) = part.split_once('<').unwrap_or((part, ""));
        let moved = stamp.parse::<Timestamp>().map(|t| (t + SignedDuration::from_secs(ahead)).to_string());
        out.push_str(&format!("{OPEN}{}<{rest}", moved.unwrap_or_else(|_| stamp.to_owned())));
    }
    out
}
