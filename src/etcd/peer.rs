//! The peer port of a member: `/members` and `/version` over HTTP.
//!
//! A member that has restarted without quorum never opens its client port; on its peer port it tells which cluster it belongs to.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;

use super::{EndpointOptions, tls};
use crate::core::model::{ClusterId, MemberId};
use crate::ports::{EtcdError, EtcdErrorKind, EtcdResult, Member, Peer, PeerAnswer};

/// A list of members comes nowhere near this.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// The header in which etcd tells its cluster's id, in hex.
const CLUSTER_ID: &str = "X-Etcd-Cluster-ID";

/// One peer URL behind [`Peer`].
#[derive(Debug, Clone)]
pub struct PeerEndpoint {
    options: EndpointOptions,
}

/// A member as the peer port prints it.
#[derive(Deserialize)]
struct Printed {
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(default, rename = "clientURLs")]
    client_urls: Vec<String>,
    #[serde(default, rename = "isLearner")]
    is_learner: bool,
}

impl PeerEndpoint {
    /// `options.url` is the peer URL. Does not connect.
    pub fn new(options: EndpointOptions) -> Self {
        PeerEndpoint { options }
    }

    fn failed(&self, kind: EtcdErrorKind, what: impl std::fmt::Display) -> EtcdError {
        EtcdError { kind, text: format!("etcd peer {}: {what}", self.options.url), hint: None }
    }

    fn client(&self) -> EtcdResult<reqwest::Client> {
        let limits = &self.options.limits;
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(limits.connect)
            .timeout(limits.call)
            .tls_built_in_root_certs(false)
            // The file is the one authority here, as it is for etcd itself.
            .pool_idle_timeout(Duration::from_secs(1));
        let refused = |what: &str, e: reqwest::Error| {
            tls::refuse(
                format!("etcd peer {}: {what} cannot be used: {e}", self.options.url),
                "name files in PEM format",
            )
        };
        if let Some((ca, identity)) = tls::for_http(&self.options)? {
            for ca in reqwest::Certificate::from_pem_bundle(&ca).map_err(|e| refused("the CA", e))? {
                builder = builder.add_root_certificate(ca);
            }
            if let Some(identity) = identity {
                let identity =
                    reqwest::Identity::from_pem(&identity).map_err(|e| refused("the certificate or its key", e))?;
                builder = builder.identity(identity);
            }
        }
        builder.build().map_err(|e| self.failed(EtcdErrorKind::Failed, e.without_url()))
    }

    async fn get(&self, path: &str) -> EtcdResult<(Option<ClusterId>, Vec<u8>)> {
        let broken = |e: reqwest::Error| {
            let e = e.without_url();
            let mut chain = vec![e.to_string()];
            // Only this says that nobody is there. Whoever takes the connection, whatever comes of it, is somebody.
            let mut nobody = e.is_timeout();
            let mut next = std::error::Error::source(&e);
            while let Some(cause) = next {
                nobody |= cause.downcast_ref::<std::io::Error>().is_some_and(|io| says_nobody(io.kind()));
                chain.push(cause.to_string());
                next = cause.source();
            }
            let text = chain.join(": ");
            let tls = text.contains("certificate") || text.contains("alert");
            let kind = match (tls, nobody || text.contains("dns error")) {
                (true, _) => EtcdErrorKind::Tls,
                (false, true) => EtcdErrorKind::Unreachable,
                (false, false) => EtcdErrorKind::Failed,
            };
            self.failed(kind, format!("{path}: {text}"))
        };
        let url = format!("{}{path}", self.options.url.trim_end_matches('/'));
        let mut answer = self.client()?.get(url).send().await.map_err(broken)?;
        if !answer.status().is_success() {
            return Err(self.failed(EtcdErrorKind::Failed, format!("{path}: status {}", answer.status().as_u16())));
        }
        let id = answer.headers().get(CLUSTER_ID).and_then(|v| v.to_str().ok());
        let id = id.and_then(|hex| u64::from_str_radix(hex, 16).ok()).map(ClusterId);
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(broken)? {
            body.extend_from_slice(&piece);
            if body.len() > LARGEST_ANSWER {
                return Err(self.failed(EtcdErrorKind::Failed, format!("{path}: the answer does not end")));
            }
        }
        Ok((id, body))
    }
}

fn says_nobody(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(kind, ConnectionRefused | HostUnreachable | NetworkUnreachable | TimedOut)
}

#[async_trait]
impl Peer for PeerEndpoint {
    fn url(&self) -> &str {
        &self.options.url
    }

    async fn ask(&self) -> EtcdResult<PeerAnswer> {
        let no_etcd = |what: &str| self.failed(EtcdErrorKind::Failed, format!("what answers there is no etcd: {what}"));
        let (id, body) = self.get("/members").await?;
        let cluster_id = id.ok_or_else(|| no_etcd("no X-Etcd-Cluster-ID"))?;
        let printed: Vec<Printed> =
            serde_json::from_slice(&body).map_err(|e| no_etcd(&format!("/members is no list of members ({e})")))?;
        let members = printed.into_iter().map(|m| Member {
            id: MemberId(m.id),
            name: m.name,
            peer_urls: m.peer_urls,
            client_urls: m.client_urls,
            is_learner: m.is_learner,
        });
        Ok(PeerAnswer { cluster_id, members: members.collect() })
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::sync::Arc;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring;

    use super::*;
    use crate::config::ConfiguredFile;
    use crate::etcd::Limits;

    #[test]
    fn only_what_comes_from_nobody_says_that_nobody_is_there() {
        use ErrorKind::*;
        for kind in [ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut] {
            assert!(says_nobody(kind), "{kind:?}");
        }
        for kind in [
            ConnectionReset,
            ConnectionAborted,
            NotConnected,
            BrokenPipe,
            UnexpectedEof,
            PermissionDenied,
            AddrNotAvailable,
            InvalidData,
            InvalidInput,
            Interrupted,
            WouldBlock,
            NotFound,
            OutOfMemory,
            Other,
        ] {
            assert!(!says_nobody(kind), "{kind:?}");
        }
    }

    /// What stands at the URL.
    #[derive(Debug, Clone, Copy)]
    enum There {
        Nobody,
        NoName,
        Silence,
        HangsUp,
        Resets,
        Says(&'static str),
        OtherCa,
    }

    async fn refusal(there: There, scheme: &str, ca_file: Option<ConfiguredFile>) -> EtcdError {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let provider = Arc::new(ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = signing_key.serialize_der().try_into().unwrap();
        let server = server.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let serving = match there {
            There::Nobody => {
                drop(listener);
                None
            }
            _ => Some(tokio::spawn(async move {
                loop {
                    let (mut peer, _) = listener.accept().await.unwrap();
                    match there {
                        There::Silence => tokio::time::sleep(Duration::from_secs(3600)).await,
                        There::HangsUp => drop(peer),
                        There::Resets => {
                            let _ = peer.read(&mut [0; 4096]).await;
                            peer.set_zero_linger().unwrap();
                        }
                        There::Says(text) => {
                            let _ = peer.read(&mut [0; 4096]).await;
                            let _ = peer.write_all(text.as_bytes()).await;
                        }
                        There::OtherCa => drop(acceptor.accept(peer).await),
                        There::Nobody | There::NoName => {}
                    }
                }
            })),
        };
        let host = match there {
            There::NoName => "no-such-host.invalid:2380".to_owned(),
            _ => at.to_string(),
        };
        let limits = Limits { connect: Duration::from_secs(5), call: Duration::from_secs(5), ..Limits::default() };
        let url = format!("{scheme}://{host}");
        let asked =
            PeerEndpoint::new(EndpointOptions { url, ca_file, limits, ..EndpointOptions::default() }).ask().await;
        serving.inspect(tokio::task::JoinHandle::abort);
        asked.unwrap_err()
    }

    /// A member that is taken for one that is gone can be replaced: whoever takes the connection is somebody.
    #[tokio::test]
    async fn whoever_takes_the_connection_is_somebody() {
        use EtcdErrorKind::{Failed, Tls, Unreachable};
        let dir = tempfile::tempdir().unwrap();
        let other = generate_simple_self_signed(["another".to_owned()]).unwrap().cert.pem();
        std::fs::write(dir.path().join("ca.crt"), other).unwrap();
        let mut wrong = Vec::new();
        let ca = || Some(ConfiguredFile::new("etcd.ca_file", dir.path().join("ca.crt")));
        for (there, scheme, expected) in [
            (There::Nobody, "http", Unreachable),
            (There::Nobody, "https", Unreachable),
            (There::NoName, "http", Unreachable),
            (There::Silence, "http", Unreachable),
            (There::HangsUp, "http", Failed),
            (There::Resets, "http", Failed),
            (There::HangsUp, "https", Failed),
            (There::Says("what is this\r\n\r\n"), "http", Failed),
            (There::Says("HTTP/1.1 500 Sorry\r\ncontent-length: 0\r\n\r\n"), "http", Failed),
            (There::Says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]"), "http", Failed),
            (There::Says("HTTP/1.1 400 plain text\r\n\r\n"), "https", Failed),
            (There::OtherCa, "https", Tls),
        ] {
            let e = refusal(there, scheme, ca()).await;
            if e.kind != expected {
                wrong.push(format!("{there:?} over {scheme}: {e:?}, expected {expected:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
