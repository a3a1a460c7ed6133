//! `[store]`: which backend, and what its keys contradict.

use std::path::PathBuf;

use url::Url;

use super::super::settings::{S3, S3Credentials, Store};
use super::super::{merged, schema};
use super::Checker;
use crate::core::model::NodeName;

impl Checker<'_> {
    pub(super) fn store(&mut self, s: merged::Store, cluster: &str) -> Option<Store> {
        let s3_is_meant = !s.s3.bucket.is_empty() || !s.s3.endpoint.is_empty();
        match s.backend.as_str() {
            "dir" if s3_is_meant => {
                self.hinted(
                    "store.backend",
                    "it is \"dir\", but [store.s3] is filled in",
                    "backend = \"s3\" in [store]",
                );
                None
            }
            "dir" => Some(Store::Dir { path: PathBuf::from(s.dir.path) }),
            _ => self.s3(s.s3, cluster),
        }
    }

    fn s3(&mut self, s: merged::S3, cluster: &str) -> Option<Store> {
        for (key, value) in [("store.s3.endpoint", &s.endpoint), ("store.s3.bucket", &s.bucket)] {
            if value.is_empty() {
                self.hinted(key, "store.backend = \"s3\" needs it", "set it in [store.s3]");
            }
        }
        if !s.bucket.is_empty()
            && (!s.bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)) || s.bucket.len() < 3)
        {
            self.problem("store.s3.bucket", format!("{:?} is not the name of a bucket", s.bucket));
        }
        let folder = s.folder.trim_matches('/').to_owned();
        let fits = |part: &str| NodeName::new(part).is_ok() && part != "..";
        if !s.folder.is_empty() && !folder.split('/').all(fits) {
            self.problem(
                "store.s3.folder",
                format!("{:?}: use names of letters, digits, '.', '_' and '-', with '/' between", s.folder),
            );
        }
        let endpoint = self.s3_endpoint(&s);
        let credentials = self.s3_credentials(&s);
        Some(Store::S3(Box::new(S3 {
            endpoint: endpoint?,
            bucket: s.bucket,
            folder: if folder.is_empty() { cluster.to_owned() } else { folder },
            region: s.region,
            path_style: s.path_style,
            rate_limit: schema::parse_rate(&s.rate_limit).ok(),
            ca_file: self.file("store.s3.ca_file", s.ca_file),
            credentials,
        })))
    }

    fn s3_endpoint(&mut self, s: &merged::S3) -> Option<Url> {
        const KEY: &str = "store.s3.endpoint";
        if s.endpoint.is_empty() {
            return None;
        }
        let default_scheme = if s.insecure { "http" } else { "https" };
        let with_scheme =
            if s.endpoint.contains("://") { s.endpoint.clone() } else { format!("{default_scheme}://{}", s.endpoint) };
        let url = self.ok(KEY, schema::parse_url(&with_scheme))?;
        if url.scheme() == "http" && !s.insecure {
            self.hinted(
                KEY,
                format!("{url} sends everything in the clear"),
                "write https://, or set insecure = true in [store.s3]",
            );
        }
        if url.scheme() == "https" && s.insecure {
            self.hinted("store.s3.insecure", format!("it is true, but the endpoint is {url}"), "remove one of the two");
        }
        let of_host = url.host_str().and_then(|h| h.strip_prefix("s3.")?.strip_suffix(".amazonaws.com"));
        if let Some(region) = of_host.filter(|r| !r.contains('.') && *r != s.region) {
            self.hinted(
                "store.s3.region",
                format!("it is {:?}, but the endpoint is that of {region}", s.region),
                format!("region = {region:?} in [store.s3]"),
            );
        }
        Some(url)
    }

    fn s3_credentials(&mut self, s: &merged::S3) -> Option<S3Credentials> {
        let access = self.secret("store.s3.access_key", &s.access_key, "store.s3.access_key_file", &s.access_key_file);
        let secret = self.secret("store.s3.secret_key", &s.secret_key, "store.s3.secret_key_file", &s.secret_key_file);
        let session = self.secret(
            "store.s3.session_token",
            &s.session_token,
            "store.s3.session_token_file",
            &s.session_token_file,
        );
        match (access, secret) {
            (Some(access_key), Some(secret_key)) => {
                Some(S3Credentials { access_key, secret_key, session_token: session })
            }
            (None, None) if session.is_none() => None,
            (access, _) => {
                let (set, unset) = match access {
                    Some(_) => ("access_key", "secret_key"),
                    None => ("secret_key or session_token", "access_key"),
                };
                self.hinted(
                    &format!("store.s3.{unset}"),
                    format!("it is not set, but {set} is"),
                    format!("set {unset} or {unset}_file, or remove all of them to use an instance role"),
                );
                None
            }
        }
    }
}
