//! An S3 server inside the test process: correct, with atomic conditional writes, and with faults on demand.
//!
//! It exists because the servers that one can install either get conditional writes wrong or cannot be made to fail at
//! a chosen request. It speaks real HTTP (or HTTPS) on 127.0.0.1 and checks signatures, so that the client code under
//! test is the whole of it. It runs on threads of its own: a test may block.

mod backend;
mod fault;
mod http;
mod listing;
mod multipart;
mod state;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

pub use self::fault::{Fault, Faults, Op, Seen};
pub use self::state::{Conditions, Stored};

use self::state::Backend;
use super::ports::Port;
use super::tls::TestCa;

/// How the server behaves. `S3Options::default()` is a well-behaved store.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// The only bucket there is; requests for others get NoSuchBucket.
    pub bucket: String,
    /// Most keys on one page of a listing.
    pub page_size: usize,
    /// Smallest part of a multipart upload, but the last; real stores say 5 MiB.
    pub min_part_size: u64,
    /// What conditional headers do.
    pub conditions: Conditions,
    /// Serve HTTPS with a certificate of an own CA (see [`S3Server::ca_file`]).
    pub tls: bool,
}

impl Default for S3Options {
    fn default() -> Self {
        S3Options {
            bucket: "snapshots".to_owned(),
            page_size: 1000,
            min_part_size: 5 << 20,
            conditions: Conditions::Atomic,
            tls: false,
        }
    }
}

/// The running server. Dropping it ends it and removes what it stored.
pub struct S3Server {
    /// Key id that requests must be signed with.
    pub access_key: String,
    /// Secret that requests must be signed with.
    pub secret_key: String,
    port: Port,
    tls: Option<(TestCa, tokio_rustls::TlsAcceptor)>,
    backend: Arc<Backend>,
    faults: Arc<Faults>,
    service: s3s::service::S3Service,
    listener: Option<JoinHandle<()>>,
    runtime: Option<Runtime>,
}

impl S3Server {
    /// Starts a server; it accepts connections when this returns.
    pub async fn start(options: S3Options) -> S3Server {
        S3Server::start_blocking(options)
    }

    /// [`S3Server::start`] for tests without a runtime.
    pub fn start_blocking(options: S3Options) -> S3Server {
        let access_key = "LIFEBOATTESTKEY".to_owned();
        let secret_key = "lifeboat-test-secret-0123456789abcdef".to_owned();
        let tls = options.tls.then(|| {
            let ca = TestCa::new("lifeboat test S3 CA");
            let acceptor = ca.acceptor();
            (ca, acceptor)
        });
        let backend = Arc::new(Backend::new(&options));
        let service = {
            let mut builder = s3s::service::S3ServiceBuilder::new(backend::S3Backend(backend.clone()));
            builder.set_auth(http::OneKey::new(&access_key, &secret_key));
            builder.build()
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("s3-server")
            .enable_all()
            .build()
            .expect("the runtime of the S3 server");
        let mut server = S3Server {
            access_key,
            secret_key,
            port: Port::reserve(),
            tls,
            backend,
            faults: Arc::new(Faults::default()),
            service,
            listener: None,
            runtime: Some(runtime),
        };
        server.go_up();
        server
    }

    /// `http://127.0.0.1:port`, or `https://`.
    pub fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.backend.bucket
    }

    /// PEM file of the CA, when the server speaks TLS.
    pub fn ca_file(&self) -> PathBuf {
        self.tls.as_ref().expect("the server was started without tls").0.ca_file()
    }

    /// What goes wrong, and what was asked so far.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Every object, in key order.
    pub fn objects(&self) -> Vec<Stored> {
        self.backend.objects()
    }

    /// Keys of every object, in order.
    pub fn keys(&self) -> Vec<String> {
        self.objects().into_iter().map(|o| o.key).collect()
    }

    /// Content of one object.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.backend.read(key)
    }

    /// Plants an object behind everybody's back.
    pub fn plant(&self, key: &str, body: &[u8]) {
        self.backend.plant(key, body);
    }

    /// Removes an object behind everybody's back; whether it was there.
    pub fn lose(&self, key: &str) -> bool {
        self.backend.lose(key)
    }

    /// Multipart uploads that were neither completed nor aborted: (key, upload id).
    pub fn uploads_in_progress(&self) -> Vec<(String, String)> {
        self.backend.uploads()
    }

    /// Moves the server's clock (`Date`, `Last-Modified`) by so many seconds from the real one.
    pub fn set_clock_skew(&self, seconds: i64) {
        self.backend.skew.store(seconds, Ordering::SeqCst);
    }

    /// Closes the port and cuts every connection: connection refused from now on.
    pub fn go_down(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
            let runtime = self.runtime.as_ref().expect("runs until it is dropped");
            // The connections end when the task that owns them has ended.
            let (done, ended) = std::sync::mpsc::channel();
            runtime.spawn(async move {
                let _ = listener.await;
                let _ = done.send(());
            });
            let _ = ended.recv();
        }
    }

    /// Listens (again) on the same port.
    pub fn go_up(&mut self) {
        assert!(self.listener.is_none(), "the server is up");
        let listener = listen(self.address());
        listener.set_nonblocking(true).expect("a non-blocking listener");
        let site = http::Site {
            service: self.service.clone(),
            backend: self.backend.clone(),
            faults: self.faults.clone(),
            tls: self.tls.as_ref().map(|(_, acceptor)| acceptor.clone()),
        };
        let runtime = self.runtime.as_ref().expect("runs until it is dropped");
        self.listener = Some(runtime.spawn(site.serve(listener)));
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port.number()))
    }
}

/// A program that another thread is just starting holds our listener, too, until it has become that program.
fn listen(address: SocketAddr) -> std::net::TcpListener {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        match std::net::TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(e) if e.kind() == std::io::ErrorKind::AddrInUse && std::time::Instant::now() < deadline => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            Err(e) => panic!("the reserved port {address} is not free: {e}"),
        }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
