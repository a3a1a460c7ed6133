//! Every operation on every wrong way to a store: the message names what was asked for, the endpoint, and the setting to change.

use std::sync::Arc;

use bytes::Bytes;
use etcd_lifeboat::config::ConfiguredFile;
use etcd_lifeboat::ports::{ObjectStore, PutMode, StoreError, StoreErrorKind};
use etcd_lifeboat::store::s3::S3Options;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::faults::quick;
use super::places::InProcess;
use super::raw::{Raw, answer};
use super::suite::{PART, content, file};
use super::support::{self, TestCa};

const OPERATIONS: [&str; 7] = ["put", "put if absent", "get", "head", "list", "delete", "upload"];

async fn failure(store: &dyn ObjectStore, operation: &str) -> StoreError {
    let body = Bytes::from_static(b"x");
    let failed = match operation {
        "put" => store.put("k", body, PutMode::Overwrite).await.err(),
        "put if absent" => store.put("k", body, PutMode::CreateOnly).await.err(),
        "get" => store.get("k", 10).await.err(),
        "head" => store.head("k").await.err(),
        "list" => store.list("k").await.err(),
        "delete" => store.delete("k").await.err(),
        _ => {
            let (_dir, path, sha256) = file(&content(PART + 1));
            store.put_file("k", &path, &sha256, PutMode::Overwrite, &|_| ()).await.err()
        }
    };
    failed.unwrap_or_else(|| panic!("{operation} worked"))
}

/// A server that shakes hands with a certificate, or tries to, and ends when dropped.
struct Handshakes(String, JoinHandle<()>);

impl Handshakes {
    async fn start(acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("https://{}", listener.local_addr().expect("an address"));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move { drop(acceptor.accept(stream).await) });
            }
        });
        Handshakes(endpoint, task)
    }
}

impl Drop for Handshakes {
    fn drop(&mut self) {
        self.1.abort();
    }
}

struct Way {
    what: &'static str,
    options: S3Options,
    kinds: Vec<StoreErrorKind>,
    /// In the line, and in the hint.
    line: Vec<&'static str>,
    hint: Vec<&'static str>,
}

fn redirecting(status: u16, headers: &'static str, body: &'static str) -> impl Fn(&str) -> Vec<u8> {
    // As in HTTP, the answer to a HEAD has no body.
    move |head| answer(status, headers, if head.starts_with("HEAD") { "" } else { body })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_says_what_is_wrong_with_its_way() {
    use StoreErrorKind::{Rejected, Unreachable};
    let place = InProcess::start(support::S3Options::default()).await;
    let (ours, other) = (TestCa::new("ours"), TestCa::new("other"));
    let good = Handshakes::start(ours.acceptor()).await;
    let expired = Handshakes::start(ours.expired_acceptor()).await;
    let misnamed = Handshakes::start(ours.acceptor_for(&["s3.elsewhere.example"])).await;
    let permanent = "<Error><Code>PermanentRedirect</Code><Message>use the other endpoint</Message></Error>";
    let there = "<Error><Code>PermanentRedirect</Code><Endpoint>s3.eu-west-2.example</Endpoint></Error>";
    let temporary = "<Error><Code>TemporaryRedirect</Code></Error>";
    let region = "x-amz-bucket-region: eu-west-2\r\nLocation: http://127.0.0.1:1/\r\n";
    let permanent_region = Raw::start(redirecting(301, region, permanent)).await;
    let permanent_mute = Raw::start(redirecting(301, "", "")).await;
    let permanent_there = Raw::start(redirecting(301, "", there)).await;
    let temporary_region = Raw::start(redirecting(307, region, temporary)).await;
    let temporary_mute = Raw::start(redirecting(307, "Location: http://127.0.0.1:1/\r\n", temporary)).await;
    let forbidden = "<Error><Code>SecondLevelDomainForbidden</Code><Message>use virtual hosted style</Message></Error>";
    let host_only = Raw::start(redirecting(403, "", forbidden)).await;

    let options = |endpoint: &str, change: &dyn Fn(&mut S3Options)| {
        let mut options = quick(place.s3.options("f"));
        options.endpoint = endpoint.to_owned();
        options.insecure = endpoint.starts_with("http:");
        options.ca_file = (!options.insecure).then(|| ConfiguredFile::new("store.s3.ca_file", ours.ca_file()));
        options.limits.attempts = 2;
        change(&mut options);
        options
    };
    let plain = |endpoint: &str| options(endpoint, &|_| ());
    let region_hint = vec!["eu-west-2", "store.s3.region = \"eu-west-2\"", "us-east-1"];
    let ways = [
        Way {
            what: "a CA that nobody trusts",
            options: options(&good.0, &|o| o.ca_file = None),
            kinds: vec![Unreachable],
            line: vec!["signed by a CA that this host does not trust"],
            hint: vec!["store.s3.ca_file"],
        },
        Way {
            what: "another CA",
            options: options(&good.0, &|o| {
                o.ca_file = Some(ConfiguredFile::new("store.s3.ca_file", other.ca_file()));
            }),
            kinds: vec![Unreachable],
            line: vec!["signed by a CA that this host does not trust"],
            hint: vec!["store.s3.ca_file"],
        },
        Way {
            what: "an expired certificate",
            options: plain(&expired.0),
            kinds: vec![Unreachable],
            line: vec!["has expired or is not valid yet"],
            hint: vec!["renew the store's certificate", "clock"],
        },
        Way {
            what: "a certificate for another name",
            options: plain(&misnamed.0),
            kinds: vec![Unreachable],
            line: vec!["is for another host name than 127.0.0.1", "s3.elsewhere.example"],
            hint: vec!["store.s3.endpoint"],
        },
        Way {
            what: "301 with a region",
            options: plain(&permanent_region.endpoint),
            kinds: vec![Rejected],
            line: vec!["301"],
            hint: region_hint.clone(),
        },
        Way {
            what: "307 with a region",
            options: plain(&temporary_region.endpoint),
            kinds: vec![Rejected],
            line: vec!["307"],
            hint: region_hint,
        },
        Way {
            what: "301 without a word",
            options: plain(&permanent_mute.endpoint),
            kinds: vec![Rejected],
            line: vec!["301"],
            hint: vec!["store.s3.endpoint", "store.s3.region", "us-east-1"],
        },
        Way {
            what: "301 to another endpoint",
            options: plain(&permanent_there.endpoint),
            kinds: vec![Rejected],
            line: vec!["301"],
            hint: vec!["s3.eu-west-2.example", "store.s3.endpoint"],
        },
        Way {
            what: "307 without a region",
            options: plain(&temporary_mute.endpoint),
            kinds: vec![Rejected],
            line: vec!["307"],
            hint: vec!["store.s3.endpoint", "store.s3.region"],
        },
        Way {
            what: "a bucket in the host name, at a store that wants it in the path",
            options: options("http://no-such-host.invalid", &|o| o.path_style = Some(false)),
            kinds: vec![Unreachable],
            line: vec!["the host name snapshots.no-such-host.invalid of the bucket"],
            hint: vec![
                "store.s3.path_style = true",
                "store.s3.endpoint",
                "getent hosts snapshots.no-such-host.invalid",
            ],
        },
        Way {
            what: "a bucket in the path, at a store that wants it in the host name",
            options: plain(&host_only.endpoint),
            kinds: vec![Rejected],
            line: vec!["403"],
            hint: vec!["store.s3.path_style = false"],
        },
    ];
    let mut wrong = Vec::new();
    for way in ways {
        let endpoint = way.options.endpoint.clone();
        let store: Arc<dyn ObjectStore> = place.s3.connect(way.options);
        println!("\n{}:", way.what);
        for operation in OPERATIONS {
            let e = failure(&*store, operation).await;
            let kind = e.kind;
            let error = etcd_lifeboat::error::Error::from(e);
            let (line, hint) = (error.one_line(), error.hint_text().unwrap_or_default().to_owned());
            println!("  {operation}: {line}\n    hint: {hint}");
            let mut miss =
                |why: String| wrong.push(format!("{}, {operation}: {why}\n    {line}\n    hint: {hint}", way.what));
            if !way.kinds.contains(&kind) {
                miss(format!("the kind is {kind:?}"));
            }
            let host = endpoint.split("://").nth(1).unwrap_or_default();
            for word in way.line.iter().copied().chain([host, "s3://snapshots/f/k"]) {
                if !line.contains(word) {
                    miss(format!("{word:?} is not in the line"));
                }
            }
            for word in &way.hint {
                if !hint.contains(word) {
                    miss(format!("{word:?} is not in the hint"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
