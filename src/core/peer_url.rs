//! When two peer URLs are the same one, however each was typed.
//!
//! etcd keeps peer URLs as they were given to it, and makes ids of that very text; the configuration takes them in their plain form alone. Compared as
//! text, healthy data of a member that was started as `https://CP1:2380` is a stranger's. What is written down keeps the text that it had.

use std::collections::BTreeSet;

use url::Url;

/// The one form of a peer URL, for comparing: lower-case, an address in its short form, the port spelled out, nothing behind it.
pub fn canonical(text: &str) -> String {
    let text = text.trim();
    let plain = || text.trim_end_matches('/').to_owned();
    let Ok(url) = Url::parse(text) else { return plain() };
    match (url.host(), url.port_or_known_default()) {
        (Some(host), Some(port)) if matches!(url.scheme(), "http" | "https") => {
            format!("{}://{host}:{port}", url.scheme())
        }
        _ => plain(),
    }
}

/// Whether both are the same URL.
pub fn same(a: &str, b: &str) -> bool {
    a == b || canonical(a) == canonical(b)
}

/// Whether `urls` holds `url`.
pub fn among(url: &str, urls: &[String]) -> bool {
    urls.iter().any(|u| same(u, url))
}

/// Whether both hold the same URLs, in whatever order.
pub fn same_set(a: &[String], b: &[String]) -> bool {
    let set = |urls: &[String]| urls.iter().map(|u| canonical(u)).collect::<BTreeSet<_>>();
    set(a) == set(b)
}

/// Whether a URL is in both.
pub fn share_one(a: &[String], b: &[String]) -> bool {
    a.iter().any(|url| among(url, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_typed_and_as_configured_are_the_same() {
        for (typed, plain, expected) in [
            ("https://cp1:2380", "https://cp1:2380", true),
            ("https://CP1:2380", "https://cp1:2380", true),
            ("HTTPS://cp1:2380/", "https://cp1:2380", true),
            (" https://cp1:2380", "https://cp1:2380", true),
            ("https://[2001:DB8:0::1]:2380", "https://[2001:db8::1]:2380", true),
            ("https://[2001:db8:0:0:0:0:0:1]:2380", "https://[2001:db8::1]:2380", true),
            ("https://h:443", "https://h", true),
            ("http://h:80", "http://h/", true),
            ("https://h:02380", "https://h:2380", true),
            ("unix:///run/etcd", "unix:///run/etcd", true),
            ("not a url/", "not a url", true),
            ("https://h:80", "https://h", false),
            ("http://cp1:2380", "https://cp1:2380", false),
            ("https://cp1:2380", "https://cp1:2381", false),
            ("https://cp1:2380", "https://cp2:2380", false),
            ("https://[2001:db8::1]:2380", "https://[2001:db8::2]:2380", false),
            ("unix:///run/A", "unix:///run/a", false),
        ] {
            assert_eq!(same(typed, plain), expected, "{typed} and {plain}");
            assert_eq!(same(plain, typed), expected, "{plain} and {typed}");
            let (a, b) = (vec!["http://other:1".to_owned(), typed.to_owned()], vec![plain.to_owned()]);
            assert_eq!(share_one(&a, &b), expected, "{typed} and {plain}");
            assert_eq!(same_set(&[typed.to_owned()], &b), expected, "{typed} and {plain}");
            assert!(!same_set(&a, &b), "one more");
            assert_eq!(canonical(&canonical(typed)), canonical(typed), "{typed}");
        }
    }
}
