//! From options to URLs: endpoint, bucket and folder, in path or virtual-host style.
//!
//! It exists to refuse a wrong address before anything is sent, with the field to correct. rust-s3's `Bucket` forms host
//! and path; nothing here talks to the network.

use s3::{Bucket, Region, creds, signing};
use url::Url;

use crate::error::{Error, Kind, Result, ResultExt};
use crate::store::key;

use super::options::S3Options;

pub(super) struct Address {
    /// Bucket URL without a slash behind it.
    base: String,
    pub(super) region: Region,
    pub(super) bucket: String,
    /// Empty, or with a slash behind it.
    folder: String,
    /// Scheme and host, for messages.
    endpoint: String,
    /// The host that is spoken to, with the bucket before it where it is not in the path.
    pub(super) host: String,
    /// The bucket is in the path.
    pub(super) path_style: bool,
}

impl Address {
    pub(super) fn new(options: &S3Options) -> Result<Self> {
        let endpoint = endpoint(&options.endpoint, options.insecure)?;
        let host = endpoint.host_str().unwrap_or_default().to_owned();
        let bucket = bucket_name(&options.bucket)?;
        let folder = folder(&options.folder)?;
        let amazon = host == "amazonaws.com" || host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
        let region = match options.region.as_deref().map(str::trim).filter(|r| !r.is_empty()) {
            Some(region) => region.to_owned(),
            None => amazon.then(|| region_of(&host)).flatten().unwrap_or_else(|| "us-east-1".to_owned()),
        };
        if !region.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
            return Err(Error::new(Kind::Config, format!("store.s3.region {region:?} is not valid"))
                .hint("write it as the store's provider does, as in eu-west-2"));
        }
        let region = Region::Custom { region, endpoint: endpoint.as_str().trim_end_matches('/').to_owned() };
        let anonymous = creds::Credentials::anonymous().or_fail(Kind::Internal, || "cannot prepare the S3 address")?;
        let mut addressed = Bucket::new(&bucket, region.clone(), anonymous)
            .or_fail(Kind::Config, || format!("cannot prepare the S3 address of bucket {bucket} at {endpoint}"))?;
        let path_style = options.path_style.unwrap_or(!amazon || bucket.contains('.'));
        if path_style {
            addressed.set_path_style();
        }
        let base = addressed.url();
        let parsed = Url::parse(&base)
            .or_fail(Kind::Config, || format!("bucket {bucket} does not fit into a host name of {host}"))?;
        let port = endpoint.port().map(|p| format!(":{p}")).unwrap_or_default();
        let shown = format!("{}://{host}{port}", endpoint.scheme());
        let host = parsed.host_str().unwrap_or_default().to_owned();
        Ok(Address { base, region, bucket, folder, endpoint: shown, host, path_style })
    }

    /// `s3://bucket/folder at https://host`.
    pub(super) fn location(&self) -> String {
        format!("s3://{}/{} at {}", self.bucket, self.folder.trim_end_matches('/'), self.endpoint)
    }

    /// An object or the bucket, for messages.
    pub(super) fn show(&self, full_key: &str) -> String {
        format!("s3://{}/{full_key} at {}", self.bucket, self.endpoint)
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether bytes are protected on their way.
    pub(super) fn tls(&self) -> bool {
        self.endpoint.starts_with("https:")
    }

    /// The key in the bucket of a key in the folder.
    pub(super) fn full_key(&self, key: &str) -> Result<String, String> {
        key::check(key)?;
        let full = format!("{}{key}", self.folder);
        if full.len() > 1024 {
            return Err("with the folder it is longer than 1024 bytes".to_owned());
        }
        Ok(full)
    }

    pub(super) fn full_prefix(&self, prefix: &str) -> Result<String, String> {
        key::check_prefix(prefix)?;
        Ok(format!("{}{prefix}", self.folder))
    }

    /// The key in the folder of a key in the bucket, if it is one that we could have written.
    pub(super) fn relative<'k>(&self, full_key: &'k str) -> Option<&'k str> {
        full_key.strip_prefix(self.folder.as_str()).filter(|k| key::check(k).is_ok())
    }

    /// The URL of an object (`None`: of the bucket) with a query.
    pub(super) fn url(&self, full_key: Option<&str>, query: &[(&str, String)]) -> Result<Url, url::ParseError> {
        let mut text = format!("{}/{}", self.base, signing::uri_encode(full_key.unwrap_or_default(), false));
        for (i, (name, value)) in query.iter().enumerate() {
            text.push(if i == 0 { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            text.push_str(&signing::uri_encode(value, true));
        }
        Url::parse(&text)
    }
}

fn endpoint(text: &str, insecure: bool) -> Result<Url> {
    let text = text.trim();
    // The value is not shown where it might hold a password.
    let shown = if text.contains('@') { "(not shown)" } else { text };
    let wrong = |why: &str, hint: &str| {
        Err(Error::new(Kind::Config, format!("store.s3.endpoint {shown:?}: {why}")).hint(hint.to_owned()))
    };
    let (scheme, rest) = match text.split_once("://") {
        None => (if insecure { "http" } else { "https" }, text),
        Some(("http", _)) if !insecure => {
            return wrong(
                "it says http, but store.s3.insecure is false",
                "write https://, or set store.s3.insecure = true if the store really has no TLS",
            );
        }
        Some(("https", _)) if insecure => {
            return wrong(
                "it says https, but store.s3.insecure is true",
                "remove store.s3.insecure; for a CA of your own set store.s3.ca_file",
            );
        }
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        Some(_) => return wrong("its scheme is neither http nor https", "write host or host:port"),
    };
    let Ok(url) = Url::parse(&format!("{scheme}://{rest}")) else {
        return wrong("it is no host name", "write host or host:port, as in s3.eu-west-2.amazonaws.com");
    };
    if url.host_str().is_none_or(str::is_empty) {
        return wrong("it has no host name", "write host or host:port, as in s3.eu-west-2.amazonaws.com");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong(
            "it holds a user name or password",
            "set store.s3.access_key and store.s3.secret_key_file instead",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("it has a query or fragment", "write host or host:port");
    }
    Ok(url)
}

fn bucket_name(name: &str) -> Result<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if name.len() > 255 || !name.chars().all(legal) || !ends(name.chars().next()) || !ends(name.chars().last()) {
        return Err(Error::new(Kind::Config, format!("store.s3.bucket {name:?} is no bucket name")).hint(
            "write the bucket's name alone, without s3:// and without folder; the folder goes to store.s3.folder",
        ));
    }
    Ok(name.to_owned())
}

fn folder(text: &str) -> Result<String> {
    let folder = text.trim_matches('/');
    if folder.is_empty() {
        return Ok(String::new());
    }
    key::check(folder).map_err(|why| {
        Error::new(Kind::Config, format!("store.s3.folder {text:?}: {why}"))
            .hint("write a plain path, as in prod-eu1 or etcd/prod-eu1")
    })?;
    Ok(format!("{folder}/"))
}

/// `eu-west-2` of `s3.eu-west-2.amazonaws.com`.
fn region_of(host: &str) -> Option<String> {
    let labels: Vec<&str> = host.split('.').collect();
    let at = labels.iter().position(|l| *l == "amazonaws")?;
    let region = labels.get(at.checked_sub(1)?)?;
    let is_region = region.contains('-') && region.ends_with(|c: char| c.is_ascii_digit()) && !region.starts_with("s3");
    is_region.then(|| (*region).to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::options::{CredentialSource, Limits};
    use super::*;

    fn options(endpoint: &str, bucket: &str, folder: &str) -> S3Options {
        S3Options {
            endpoint: endpoint.to_owned(),
            bucket: bucket.to_owned(),
            folder: folder.to_owned(),
            region: None,
            insecure: endpoint.starts_with("http:"),
            path_style: None,
            ca_file: None,
            credentials: CredentialSource::Chain,
            limits: Limits::default(),
        }
    }

    #[test]
    fn addresses() {
        let cases = [
            ("s3.eu-west-2.amazonaws.com", "b-1", "", "https://b-1.s3.eu-west-2.amazonaws.com/k", "eu-west-2"),
            ("s3.amazonaws.com", "b-1", "f", "https://b-1.s3.amazonaws.com/f/k", "us-east-1"),
            ("s3.eu-west-2.amazonaws.com", "b.c", "", "https://s3.eu-west-2.amazonaws.com/b.c/k", "eu-west-2"),
            (
                "https://s3.cn-north-1.amazonaws.com.cn",
                "b-1",
                "",
                "https://b-1.s3.cn-north-1.amazonaws.com.cn/k",
                "cn-north-1",
            ),
            ("minio.example:9000", "b-1", "/a/b/", "https://minio.example:9000/b-1/a/b/k", "us-east-1"),
            ("https://h:443/", "b-1", "a/", "https://h/b-1/a/k", "us-east-1"),
            ("http://[::1]:9000", "b-1", "a", "http://[::1]:9000/b-1/a/k", "us-east-1"),
            ("https://p.example/storage/v1/s3", "b-1", "", "https://p.example/storage/v1/s3/b-1/k", "us-east-1"),
        ];
        for (endpoint, bucket, folder, url, region) in cases {
            let address = Address::new(&options(endpoint, bucket, folder)).expect(endpoint);
            let full = address.full_key("k").expect("key");
            assert_eq!(address.url(Some(&full), &[]).expect("url").as_str(), url, "{endpoint}");
            assert_eq!(address.region.to_string(), region, "{endpoint}");
            assert_eq!(address.relative(&full), Some("k"), "{endpoint}");
        }
    }

    #[test]
    fn path_style_can_be_chosen() {
        let mut wanted = options("minio.example", "b-1", "");
        wanted.path_style = Some(false);
        wanted.region = Some("x-1".to_owned());
        let address = Address::new(&wanted).expect("address");
        assert_eq!(address.url(Some("k"), &[]).expect("url").as_str(), "https://b-1.minio.example/k");
        assert_eq!(address.region.to_string(), "x-1");
    }

    #[test]
    fn keys_survive_the_url() {
        let address = Address::new(&options("h", "b-1", "f")).expect("address");
        for key in ["a b", "a+b", "a%2eb", "%2e%2e", "é/ü", "?#&='\"<>^`{}|[]", "~._-"] {
            let full = address.full_key(key).expect(key);
            let url = address.url(Some(&full), &[("q", "a b+c/ü".to_owned())]).expect(key);
            assert_eq!(signing::canonical_uri_string(&url), format!("/b-1/{}", signing::uri_encode(&full, false)));
            assert_eq!(url.query_pairs().next().expect("query").1, "a b+c/ü");
        }
    }

    #[test]
    fn wrong_addresses_are_refused_and_passwords_not_shown() {
        let mut http = options("http://h", "b-1", "");
        http.insecure = false;
        let mut https = options("https://h", "b-1", "");
        https.insecure = true;
        let wrong = [
            http,
            https,
            options("ftp://h", "b-1", ""),
            options("https://u:hunter2@h", "b-1", ""),
            options("", "b-1", ""),
            options("h?x=1", "b-1", ""),
            options("h", "s3://b", ""),
            options("h", "", ""),
            options("h", "a/b", ""),
            options("h", "b-1", "../x"),
            options("h", "b-1", "a//b"),
        ];
        for options in wrong {
            let e = Address::new(&options).err().unwrap_or_else(|| panic!("{options:?} was accepted"));
            assert_eq!(e.kind(), Kind::Config);
            assert!(e.hint_text().is_some(), "no hint: {e:?}");
            assert!(!e.one_line().contains("hunter2"), "{e:?}");
        }
    }
}
