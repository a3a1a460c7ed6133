//! What the client library's failures mean, and what to type next.

use std::error::Error as _;
use std::time::Duration;

use crate::ports::{EtcdError, EtcdErrorKind};

/// etcd's words (`rpctypes/error.go`).
pub(super) const AUTH_IS_OFF: &str = "authentication is not enabled";
pub(super) const NO_PERMISSION: &str = "etcdserver: permission denied";

/// TLS 1.3 tells a client only after its handshake that its certificate is missing or unwanted; whether the alert or the cut line is
/// seen first is a matter of luck.
const CUT_AFTER_HANDSHAKE: &str = "etcd closed the connection: if it has just been stopped, look at journalctl -u etcd; otherwise it asks for \
     a client certificate that it knows: set or check etcd.cert_file and etcd.key_file";

/// gRPC's codes, as the standard numbers them.
mod code {
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const DEADLINE_EXCEEDED: i32 = 4;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const UNAVAILABLE: i32 = 14;
    pub(super) const UNAUTHENTICATED: i32 = 16;
}

pub(super) fn no_answer(endpoint: &str, call: &str, limit: Duration) -> EtcdError {
    EtcdError {
        kind: EtcdErrorKind::Unreachable,
        text: format!("etcd {endpoint}: no answer to {call} within {} s", limit.as_secs_f32()),
        hint: Some("check that etcd is running and not overloaded: journalctl -u etcd".into()),
    }
}

/// Names endpoint, call and cause; never holds a password (the library does not put it into its errors).
pub(super) fn explain(endpoint: &str, call: &str, e: &etcd_client::Error) -> EtcdError {
    let mut chain = vec![match e {
        etcd_client::Error::GRpcStatus(status) => status.message().to_owned(),
        other => other.to_string(),
    }];
    let mut next = match e {
        etcd_client::Error::GRpcStatus(status) => status.source(),
        etcd_client::Error::TransportError(e) => e.source(),
        _ => None,
    };
    while let Some(cause) = next {
        let text = cause.to_string();
        if !chain.iter().any(|c| c.contains(&text)) {
            chain.push(text);
        }
        next = cause.source();
    }
    let code = match e {
        etcd_client::Error::GRpcStatus(status) => Some(status.code() as i32),
        _ => None,
    };
    let cause = chain.join(": ");
    let (kind, hint) = classify(code, &cause, endpoint);
    EtcdError { kind, text: format!("etcd {endpoint}: {call} failed: {cause}"), hint: hint.map(str::to_owned) }
}

fn classify(grpc: Option<i32>, cause: &str, endpoint: &str) -> (EtcdErrorKind, Option<&'static str>) {
    let has = |part: &str| cause.contains(part);
    let by_text: [(&str, EtcdErrorKind, &'static str); 21] = [
        (
            "user name is empty",
            EtcdErrorKind::Denied,
            "etcd's auth is on: set etcd.username and etcd.password_file, or a client certificate whose CN is an etcd user",
        ),
        (
            "invalid user ID or password",
            EtcdErrorKind::Denied,
            "check etcd.username and the content of etcd.password_file",
        ),
        (
            // 3.4 says it without a code of its own, and asks for the role root for snapshots.
            "auth: permission denied",
            EtcdErrorKind::Denied,
            "give the user in etcd.username what it needs; etcd 3.4 lets only the role root take snapshots: etcdctl user grant-role USER root",
        ),
        (
            "UnknownIssuer",
            EtcdErrorKind::Tls,
            "etcd's certificate was signed by another CA than the one in etcd.ca_file (kubeadm: /etc/kubernetes/pki/etcd/ca.crt)",
        ),
        (
            "CaUsedAsEndEntity",
            EtcdErrorKind::Tls,
            "etcd serves a CA certificate as its own; give it a server certificate",
        ),
        (
            "certificate expired",
            EtcdErrorKind::Tls,
            "etcd's certificate has expired (or this host's clock is wrong): renew it",
        ),
        ("Expired", EtcdErrorKind::Tls, "a certificate has expired (or a clock is wrong): renew it"),
        ("NotValidYet", EtcdErrorKind::Tls, "etcd's certificate is not valid yet: check the clock of this host"),
        (
            "not valid for name",
            EtcdErrorKind::Tls,
            "etcd's certificate does not name the host in etcd.endpoint; use a name or address that it holds",
        ),
        ("NotValidForName", EtcdErrorKind::Tls, "etcd's certificate does not name the host in etcd.endpoint"),
        (
            "CertificateRequired",
            EtcdErrorKind::Tls,
            "etcd asks for a client certificate: set etcd.cert_file and etcd.key_file",
        ),
        (
            "received fatal alert",
            EtcdErrorKind::Tls,
            "etcd refused the client certificate: check etcd.cert_file and etcd.key_file (right CA, client usage, not expired)",
        ),
        (
            "InvalidContentType",
            EtcdErrorKind::Tls,
            "etcd seems to speak plain http there: write http:// in etcd.endpoint, or give etcd its certificates",
        ),
        (
            "tls handshake eof",
            EtcdErrorKind::Tls,
            "etcd seems to speak plain http there: write http:// in etcd.endpoint, or give etcd its certificates",
        ),
        ("operation was canceled", EtcdErrorKind::Tls, CUT_AFTER_HANDSHAKE),
        ("stream closed because of a broken pipe", EtcdErrorKind::Tls, CUT_AFTER_HANDSHAKE),
        ("Broken pipe", EtcdErrorKind::Tls, CUT_AFTER_HANDSHAKE),
        ("Connection reset", EtcdErrorKind::Tls, CUT_AFTER_HANDSHAKE),
        ("refused", EtcdErrorKind::Unreachable, "nothing listens there: is etcd running, and is etcd.endpoint right?"),
        (
            "http2 error",
            EtcdErrorKind::Unreachable,
            "what answers there does not speak etcd's protocol: correct host and port in etcd.endpoint (etcd's client port is 2379), or write https://",
        ),
        (
            "dns error",
            EtcdErrorKind::Unreachable,
            "the host name in etcd.endpoint has no address: correct it, or look at this host's DNS (getent hosts NAME)",
        ),
    ];
    // Only etcd itself can speak of itself; the transport's words are looked at otherwise.
    let etcd_says = has("etcdserver:");
    for (part, kind, hint) in by_text {
        if kind == EtcdErrorKind::Tls && !endpoint.starts_with("https://") {
            continue;
        }
        if has(part) && (!etcd_says || kind == EtcdErrorKind::Denied) {
            return (kind, Some(hint));
        }
    }
    // A line that breaks within a call has any code.
    let by_transport = !etcd_says && (has("transport error") || has("connection error"));
    let quorum = "look at the other members: etcdctl endpoint status --cluster";
    // What the election and lock services of etcd pass on has lost its code.
    let passing = ["leader changed", "no leader", "request timed out", "too many requests", "server stopped"];
    if etcd_says && passing.iter().any(|part| has(part)) {
        return (EtcdErrorKind::NoQuorum, Some(quorum));
    }
    match grpc {
        Some(code::PERMISSION_DENIED) => (
            EtcdErrorKind::Denied,
            Some("give the etcd user in etcd.username a role that allows it (snapshots need root)"),
        ),
        Some(code::UNAUTHENTICATED) => {
            (EtcdErrorKind::Denied, Some("check etcd.username and the content of etcd.password_file"))
        }
        Some(code::INVALID_ARGUMENT) => (EtcdErrorKind::Failed, None),
        Some(code::UNAVAILABLE | code::DEADLINE_EXCEEDED) if etcd_says => (EtcdErrorKind::NoQuorum, Some(quorum)),
        Some(_) if endpoint.starts_with("http://") && (by_transport || grpc == Some(code::UNAVAILABLE)) => (
            EtcdErrorKind::Unreachable,
            Some(
                "if etcd serves TLS there, write https:// in etcd.endpoint and set etcd.ca_file; if it is no etcd, correct host and port (2379); otherwise: journalctl -u etcd",
            ),
        ),
        Some(code::UNAVAILABLE | code::DEADLINE_EXCEEDED) | None => {
            (EtcdErrorKind::Unreachable, Some("check that etcd is running: journalctl -u etcd"))
        }
        Some(_) if by_transport => (EtcdErrorKind::Unreachable, Some("check that etcd is running: journalctl -u etcd")),
        Some(_) => (EtcdErrorKind::Failed, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EtcdErrorKind::{Denied, Failed, NoQuorum, Tls, Unreachable};

    #[test]
    fn what_etcd_and_the_transport_say_is_told_apart() {
        let clear = "http://127.0.0.1:2379";
        for text in [
            "transport error: connection error: stream closed because of a broken pipe",
            "operation was canceled: transport error",
        ] {
            let (kind, said) = classify(Some(2), text, clear);
            assert_eq!(kind, Unreachable, "{text}");
            assert!(said.unwrap_or_default().contains("https://"), "{text}: {said:?}");
        }
        for (code, text, expected, hint) in [
            (Some(14), "etcdserver: no leader", NoQuorum, "endpoint status"),
            (Some(14), "etcdserver: request timed out", NoQuorum, "endpoint status"),
            (Some(2), "etcdserver: leader changed", NoQuorum, "endpoint status"),
            (Some(2), "etcdserver: request timed out, possibly due to connection lost", NoQuorum, "endpoint status"),
            (Some(1), "operation was canceled: transport error: connection closed", Tls, "etcd.cert_file"),
            (
                Some(2),
                "transport error: connection error: stream closed because of a broken pipe",
                Tls,
                "etcd.cert_file",
            ),
            (Some(14), "tcp: Connection reset by peer (os error 104)", Tls, "etcd.cert_file"),
            (Some(4), "context deadline exceeded", Unreachable, "journalctl"),
            (Some(14), "tcp connect error: Connection refused (os error 111)", Unreachable, "running"),
            (Some(14), "transport: invalid peer certificate: UnknownIssuer", Tls, "etcd.ca_file"),
            (Some(14), "invalid peer certificate: certificate expired: verification time", Tls, "renew"),
            (Some(14), "connection error: received fatal alert: CertificateRequired", Tls, "etcd.cert_file"),
            (Some(14), "received fatal alert: BadCertificate", Tls, "client certificate"),
            (Some(1), "operation was canceled: transport error: connection closed", Tls, "etcd.cert_file"),
            (Some(3), "etcdserver: user name is empty", Denied, "etcd.username"),
            (Some(3), "etcdserver: authentication failed, invalid user ID or password", Denied, "password_file"),
            (Some(7), "etcdserver: permission denied", Denied, "role"),
            (Some(2), "auth: permission denied", Denied, "role root"),
            (Some(16), "etcdserver: invalid auth token", Denied, "password"),
            (Some(11), "etcdserver: mvcc: required revision has been compacted", Failed, ""),
        ] {
            let (kind, said) = classify(code, text, "https://127.0.0.1:2379");
            assert_eq!(kind, expected, "{text}");
            assert!(said.unwrap_or_default().contains(hint), "{text}: {said:?}");
        }
    }
}
