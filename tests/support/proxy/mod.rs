//! A proxy that breaks HTTP/1.1 on demand, between the code under test and any store.
//!
//! It exists because a real store cannot be told to lose an answer, and the in-process server is only one store. It passes requests on byte for byte (a
//! signature covers the `Host` that the client wrote, so that stays), looks at what they ask for, and does to the chosen ones what a test says. It runs
//! on threads of its own: a test may block.

mod answer;
mod fault;
mod message;
mod relay;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub use self::fault::{End, Fault};

use self::message::Answer;
use super::ports::Port;
use super::s3::Op;

/// One rule: of the requests that match, `skip` pass and `left` suffer.
struct Rule {
    op: Op,
    key: String,
    skip: u32,
    left: u32,
    fault: Fault,
}

/// What the connections share.
struct Site {
    upstream: SocketAddr,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<(Op, String)>>,
    /// The last true answer to each request, by method and URL.
    answers: Mutex<HashMap<String, Answer>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn matches(rule_op: Op, rule_key: &str, op: Op, key: &str) -> bool {
    (rule_op == Op::Any || rule_op == op) && key.contains(rule_key)
}

impl Site {
    fn judge(&self, op: Op, key: &str) -> Option<Fault> {
        lock(&self.seen).push((op, key.to_owned()));
        let mut rules = lock(&self.rules);
        let rule = rules.iter_mut().find(|r| r.left > 0 && matches(r.op, &r.key, op, key))?;
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        if rule.left != u32::MAX {
            rule.left -= 1;
        }
        Some(rule.fault.clone())
    }
}

/// The running proxy. Dropping it cuts every connection.
pub struct FaultProxy {
    port: Port,
    site: Arc<Site>,
    runtime: Option<Runtime>,
}

impl FaultProxy {
    /// Starts one before a server at `http://host:port`.
    pub fn start(upstream: &str) -> FaultProxy {
        let upstream = upstream.strip_prefix("http://").expect("a server without TLS");
        let upstream = upstream.parse().expect("an address");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("fault-proxy")
            .enable_all()
            .build()
            .expect("the runtime of the proxy");
        let port = Port::reserve();
        let site =
            Arc::new(Site { upstream, rules: Mutex::default(), seen: Mutex::default(), answers: Mutex::default() });
        let listener = std::net::TcpListener::bind(("127.0.0.1", port.number())).expect("the reserved port is free");
        listener.set_nonblocking(true).expect("a non-blocking listener");
        let shared = site.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener on the proxy's runtime");
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(relay::connection(shared.clone(), stream));
            }
        });
        FaultProxy { port, site, runtime: Some(runtime) }
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// `skip` matching requests pass, then `n` suffer. `key` matches as a substring; the key of a listing is its prefix.
    pub fn add(&self, op: Op, key: &str, skip: u32, n: u32, fault: Fault) {
        lock(&self.site.rules).push(Rule { op, key: key.to_owned(), skip, left: n, fault });
    }

    /// The next matching request suffers.
    pub fn once(&self, op: Op, key: &str, fault: Fault) {
        self.add(op, key, 0, 1, fault);
    }

    /// Every matching request suffers.
    pub fn always(&self, op: Op, key: &str, fault: Fault) {
        self.add(op, key, 0, u32::MAX, fault);
    }

    /// Ends the rules for keys that contain `key`.
    pub fn clear(&self, key: &str) {
        lock(&self.site.rules).retain(|r| !r.key.contains(key));
    }

    /// How many requests of this kind were seen for keys that contain `key`.
    pub fn count(&self, op: Op, key: &str) -> usize {
        lock(&self.site.seen).iter().filter(|(o, k)| matches(op, key, *o, k)).count()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
