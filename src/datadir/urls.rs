//! Names and peer URLs of an initial cluster, under the rules of etcd (`client/pkg/types/urls.go`, `urlsmap.go`).
//!
//! Ids are digests of the URLs' text, so a URL counts only in the form in which Go would print it. What Go would print in
//! another form (escapes, user names, fragments) is refused instead of rewritten.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// A member of the cluster that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitialMember {
    /// The member's name.
    pub name: String,
    /// Its peer URLs.
    pub peer_urls: Vec<String>,
}

fn refused(url: &str, why: &str) -> Error {
    let url: String = url.chars().take(200).collect();
    Error::new(Kind::Config, format!("peer URL {url:?} is not valid: {why}"))
        .hint("a peer URL looks like https://10.0.0.1:2380")
}

/// Checks one peer URL and returns the form in which etcd keeps it.
///
/// # Errors
/// `Config`, as etcd refuses it: another scheme than http, https, unix, unixs; no `host:port`; a path.
pub fn peer_url(text: &str) -> Result<String> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").ok_or_else(|| refused(text, "it has no scheme"))?;
    if let Some(c) = rest
        .chars()
        .find(|c| !c.is_ascii_graphic() || matches!(c, '%' | '#' | '@' | '\\' | '^' | '`' | '{' | '}' | '|'))
    {
        return Err(refused(text, &format!("{c:?} is not allowed in it")));
    }
    let scheme = scheme.to_ascii_lowercase();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    match scheme.as_str() {
        "http" | "https" => {
            if rest.get(authority.len()..).is_some_and(|r| r.starts_with('/')) {
                return Err(refused(text, "it must not have a path"));
            }
            check_host_port(authority).map_err(|why| refused(text, why))?;
        }
        "unix" | "unixs" => {
            // Go checks the port of any URL when it parses it.
            if authority.contains(':') {
                check_host_port(authority).map_err(|why| refused(text, why))?;
            }
        }
        _ => return Err(refused(text, "the scheme must be http, https, unix or unixs")),
    }
    Ok(format!("{scheme}://{rest}"))
}

fn check_host_port(authority: &str) -> std::result::Result<(), &'static str> {
    const FORM: &str = "it must have the form host:port";
    let port = match authority.strip_prefix('[') {
        Some(v6) => {
            let (address, port) = v6.split_once("]:").ok_or(FORM)?;
            address.parse::<Ipv6Addr>().map_err(|_| "the address in brackets is no IPv6 address")?;
            port
        }
        None => {
            let (host, port) = authority.split_once(':').ok_or(FORM)?;
            if host.contains(['[', ']']) {
                return Err(FORM);
            }
            port
        }
    };
    if port.bytes().all(|b| b.is_ascii_digit()) { Ok(()) } else { Err("its port is no number") }
}

/// Reads etcd's `--initial-cluster`: `name=url,name=url`; a name with several URLs appears several times.
///
/// # Errors
/// `Config` when it is empty or a URL in it is not valid.
pub fn parse_initial_cluster(text: &str) -> Result<Vec<InitialMember>> {
    let mut urls: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for part in text.split(',').filter(|p| !p.is_empty()) {
        let (name, url) = part.split_once('=').unwrap_or((part, ""));
        urls.entry(name.to_owned()).or_default().push(url.to_owned());
    }
    let members = urls.into_iter().map(|(name, peer_urls)| InitialMember { name, peer_urls }).collect();
    normalize(members)
}

/// Checks an initial cluster; returns it sorted by name, each member's URLs in etcd's form and order.
///
/// # Errors
/// `Config` when it is empty, a name is empty or used twice, a URL is not valid, or a URL is used twice.
pub fn normalize(members: Vec<InitialMember>) -> Result<Vec<InitialMember>> {
    let bad = |why: String| Error::new(Kind::Config, format!("the initial cluster is not valid: {why}"));
    if members.is_empty() {
        return Err(bad("it has no member".into()));
    }
    let mut seen_urls: BTreeMap<String, String> = BTreeMap::new();
    let mut out: BTreeMap<String, InitialMember> = BTreeMap::new();
    for member in members {
        let name = member.name;
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(bad(format!("the member name {name:?} is empty or has a control character")));
        }
        if member.peer_urls.is_empty() {
            return Err(bad(format!("member {name:?} has no peer URL")));
        }
        let mut urls = member.peer_urls.iter().map(|u| peer_url(u)).collect::<Result<Vec<_>>>()?;
        urls.sort();
        for url in &urls {
            if let Some(other) = seen_urls.insert(url.clone(), name.clone()) {
                return Err(bad(format!("peer URL {url} is given for {other:?} and again for {name:?}")));
            }
        }
        let member = InitialMember { name: name.clone(), peer_urls: urls };
        if out.insert(name.clone(), member).is_some() {
            return Err(bad(format!("member {name:?} is named twice")));
        }
    }
    Ok(out.into_values().collect())
}

/// The member `me` of a normalized cluster; when `advertised` is given, its URLs must be the same ones.
///
/// # Errors
/// `Config` when it is not there, or its URLs differ. Names are not resolved: the texts must be equal.
pub fn find_me<'a>(members: &'a [InitialMember], me: &str, advertised: Option<&[String]>) -> Result<&'a InitialMember> {
    let found = members.iter().find(|m| m.name == me).ok_or_else(|| {
        let names: Vec<_> = members.iter().map(|m| m.name.as_str()).collect();
        Error::new(Kind::Config, format!("member {me:?} is not in the initial cluster"))
            .hint(format!("give --name as one of: {}", names.join(", ")))
    })?;
    let Some(advertised) = advertised else { return Ok(found) };
    let mut urls = advertised.iter().map(|u| peer_url(u)).collect::<Result<Vec<_>>>()?;
    urls.sort();
    if urls == found.peer_urls {
        return Ok(found);
    }
    Err(Error::new(
        Kind::Config,
        format!(
            "member {me:?} has the peer URLs {} in the initial cluster, but advertises {}",
            found.peer_urls.join(","),
            urls.join(",")
        ),
    )
    .hint("give the same URLs in --initial-cluster and --initial-advertise-peer-urls"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_judged_as_etcd_judges_them() {
        let good = [
            ("http://localhost:2380", "http://localhost:2380"),
            ("  https://10.0.0.1:2380 ", "https://10.0.0.1:2380"),
            ("HTTPS://Host.example:2380", "https://Host.example:2380"),
            ("http://[::1]:2380", "http://[::1]:2380"),
            ("http://:2380", "http://:2380"),
            ("http://h:1?x=a&b", "http://h:1?x=a&b"),
            ("unix://h:1", "unix://h:1"),
            ("unixs://h", "unixs://h"),
        ];
        for (text, kept) in good {
            assert_eq!(peer_url(text).unwrap(), kept);
        }
        let bad = [
            "",
            "localhost:2380",
            "ftp://h:1",
            "http://h",
            "http://h:1/",
            "http://h:1/path",
            "http://h:a",
            "http://a:b:1",
            "http://[::1]",
            "http://[x]:1",
            "http://::1:2380",
            "http://u:p@h:1",
            "http://h:1#f",
            "http://h%41:1",
            "http://h :1",
            "http://h\n:1",
            "http://é:1",
            "mailto:x",
        ];
        for text in bad {
            assert_eq!(peer_url(text).unwrap_err().kind(), Kind::Config, "{text:?} was accepted");
        }
    }

    #[test]
    fn clusters_are_judged_as_etcd_judges_them() {
        let members = parse_initial_cluster("b=http://h:2,a=http://h:3,a=http://h:1,").unwrap();
        assert_eq!(
            members[0],
            InitialMember { name: "a".into(), peer_urls: vec!["http://h:1".into(), "http://h:3".into()] }
        );
        assert_eq!(members.len(), 2);
        for bad in ["", ",", "a", "a=", "=http://h:1", "a=http://h:1,b=http://h:1", "a=http://h:1,a=http://h:1"] {
            assert!(parse_initial_cluster(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(find_me(&members, "a", None).is_ok());
        assert!(find_me(&members, "c", None).is_err());
        let advertised = |u: &[&str]| u.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        assert!(find_me(&members, "a", Some(&advertised(&["http://h:3", "http://h:1"]))).is_ok());
        assert!(find_me(&members, "a", Some(&advertised(&["http://h:1"]))).is_err());
        assert!(find_me(&members, "a", Some(&advertised(&["http://h:1", "http://h:4"]))).is_err());
    }
}
