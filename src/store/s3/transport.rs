//! Failures below HTTP: name, connection, TLS, time-out.
//!
//! It exists because the HTTP library's own words ("error sending request") help nobody at 3 a.m., and because its errors
//! carry the URL, which is taken off here.

use std::error::Error as StdError;

use crate::ports::{StoreError, StoreErrorKind as Kind};

use super::client::Client;
use super::failure::{Again, Failure};

/// A request that got no whole answer.
pub(super) fn broken(client: &Client, what: &str, e: reqwest::Error) -> Failure {
    let e = e.without_url();
    let not_sent = e.is_connect() || e.is_builder();
    let chain = chain(&e);
    let (text, hint, again) = explain(client, &chain, e.is_timeout());
    let mut error = StoreError::new(Kind::Unreachable, format!("{what}: {text}"));
    error.hint = hint;
    // The library's layers ("error sending request", "client error") say nothing; its deepest cause does.
    if let Some(deepest) = deepest(&e) {
        error = error.caused_by(deepest);
    }
    Failure { error, status: 0, code: String::new(), again, maybe_done: !not_sent, retry_after: None }
}

/// Nothing moved for too long.
pub(super) fn stalled(what: &str, phase: &str, limit: std::time::Duration) -> Failure {
    let error = StoreError::new(Kind::Unreachable, format!("{what}: {phase} for {} s", limit.as_secs_f64()))
        .hint("the store or the network hangs; look at the load balancer, firewall (MTU) and proxy in between");
    Failure { error, status: 0, code: String::new(), again: Again::Later, maybe_done: true, retry_after: None }
}

fn deepest(e: &reqwest::Error) -> Option<String> {
    let mut last = e.source()?;
    while let Some(cause) = last.source() {
        last = cause;
    }
    Some(super::failure::printable(&last.to_string(), 300))
}

fn chain(e: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next = e.source();
    while let Some(cause) = next {
        text.push_str(&cause.to_string());
        text.push('\n');
        next = cause.source();
    }
    text.to_lowercase()
}

fn explain(client: &Client, chain: &str, timeout: bool) -> (String, Option<String>, Again) {
    let endpoint = client.address.endpoint();
    let has = |words: &[&str]| words.iter().any(|w| chain.contains(w));
    if has(&["unknownissuer", "badsignature", "self-signed", "selfsigned", "caused as endentity", "causedasendentity"])
    {
        return (
            format!("the certificate of {endpoint} is signed by a CA that this host does not trust"),
            Some("set store.s3.ca_file to the PEM file of that CA, or install it system-wide (and the package ca-certificates)".to_owned()),
            Again::No,
        );
    }
    // With the bucket in the host name, that is the name to blame, not the endpoint's.
    let (host, virtual_style) = (client.address.host.as_str(), !client.address.path_style);
    let path_style = "if it keeps buckets in the path, set store.s3.path_style = true";
    if has(&["notvalidforname", "not valid for name"]) {
        let hint = match virtual_style {
            true => format!("{path_style} (as for a bucket with dots); else the certificate must name {host}"),
            false => "write store.s3.endpoint as the certificate names it".to_owned(),
        };
        return (format!("the certificate of {endpoint} is for another host name than {host}"), Some(hint), Again::No);
    }
    if has(&["certificate expired", "expired", "notvalidyet", "not valid yet"]) {
        return (
            format!("the certificate of {endpoint} has expired or is not valid yet"),
            Some("renew the store's certificate; look at this host's clock first (date -u)".to_owned()),
            Again::No,
        );
    }
    if has(&["invalidcontenttype", "wrong version number"]) {
        return (
            format!("{endpoint} does not speak TLS"),
            Some("if the store really has plain http only, set store.s3.insecure = true; else correct the port in store.s3.endpoint".to_owned()),
            Again::No,
        );
    }
    if has(&["invalid peer certificate"]) {
        return (
            format!("the certificate of {endpoint} is refused"),
            Some(format!(
                "renew or correct the store's certificate; to see it: openssl s_client -showcerts -connect {}",
                bare(endpoint)
            )),
            Again::No,
        );
    }
    if has(&["received fatal alert", "tls"]) {
        return (
            format!("TLS with {endpoint} failed"),
            Some(format!("try: openssl s_client -connect {}", bare(endpoint))),
            Again::Later,
        );
    }
    if has(&["dns error", "failed to lookup", "name or service not known"]) {
        let hint = format!("correct store.s3.endpoint, or look at this host's DNS: getent hosts {host}");
        let (text, hint) = match virtual_style {
            true => (
                format!("the host name {host} of the bucket at {endpoint} cannot be resolved"),
                format!("{path_style}; else {hint}"),
            ),
            false => (format!("the host name of {endpoint} cannot be resolved"), hint),
        };
        return (text, Some(hint), Again::Later);
    }
    if has(&["connection refused"]) {
        return (
            format!("{endpoint} refuses the connection"),
            Some("start the store, or correct host and port in store.s3.endpoint".to_owned()),
            Again::Later,
        );
    }
    if has(&["invalid http version", "invalid status line", "invalid status-line"]) {
        return (
            format!("{endpoint} does not speak HTTP here"),
            Some(
                "if it expects TLS, remove store.s3.insecure and http:// from store.s3.endpoint; else correct the port"
                    .to_owned(),
            ),
            Again::Later,
        );
    }
    if timeout || has(&["timed out", "deadline has elapsed"]) {
        return (
            format!("no connection to {endpoint} within {} s", client.limits.connect.as_secs_f64()),
            Some("look at routes, firewalls and the proxy settings (HTTPS_PROXY, NO_PROXY) of this host".to_owned()),
            Again::Later,
        );
    }
    if has(&["no route to host", "network is unreachable"]) {
        return (
            format!("there is no route to {endpoint}"),
            Some("look at this host's network: ip route".to_owned()),
            Again::Later,
        );
    }
    (
        format!("the connection to {endpoint} broke"),
        Some(format!(
            "try again; if it stays so, look at the store, and at proxies and firewalls before {}",
            client.address.host
        )),
        Again::Later,
    )
}

fn bare(endpoint: &str) -> &str {
    endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest)
}
