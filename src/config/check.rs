//! Opens what the settings name, for `config check`.
//!
//! It exists so that a missing certificate is found before the first snapshot needs it. It may not use the network.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::Error;

use super::problem::Problem;
use super::settings::{Settings, Store};

/// A certificate bundle is smaller.
const LARGEST_PEM: u64 = 4 << 20;

/// Every file that cannot be used.
pub(super) fn files(settings: &Settings, origins: &HashMap<String, String>) -> Vec<Problem> {
    let mut found = Found { origins, problems: Vec::new() };
    found.add("cluster.token_file", settings.cluster.token().err());
    let etcd = &settings.etcd;
    found.add("etcd.user", etcd.user.as_ref().and_then(|u| u.ids().err()));
    found.pem("etcd.ca_file", etcd.ca_file.as_deref());
    if let Some(certificate) = &etcd.client_certificate {
        found.pem("etcd.cert_file", Some(&certificate.cert_file));
        found.pem("etcd.key_file", Some(&certificate.key_file));
    }
    if let Some(login) = &etcd.login {
        found.add("etcd.password_file", login.password.read().err());
    }
    if let Store::S3(s3) = &settings.store {
        found.pem("store.s3.ca_file", s3.ca_file.as_deref());
        if let Some(c) = &s3.credentials {
            found.add("store.s3.access_key_file", c.access_key.read().err());
            found.add("store.s3.secret_key_file", c.secret_key.read().err());
            found.add("store.s3.session_token_file", c.session_token.as_ref().and_then(|s| s.read().err()));
        }
    }
    found.problems
}

struct Found<'a> {
    origins: &'a HashMap<String, String>,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn add(&mut self, key: &str, error: Option<Error>) {
        let Some(error) = error else { return };
        let at = self.origins.get(key).map_or("not set", String::as_str);
        let mut problem = Problem::new(at, error.one_line());
        problem.hint = error.hint_text().map(str::to_owned);
        self.problems.push(problem);
    }

    fn pem(&mut self, key: &str, path: Option<&Path>) {
        let Some(path) = path else { return };
        let at = self.origins.get(key).map_or("not set", String::as_str);
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|f| f.take(LARGEST_PEM).read_to_end(&mut bytes));
        if let Err(e) = read {
            let text = format!("cannot read {}, which {key} names: {e}", path.display());
            self.problems
                .push(Problem::new(at, text).hint(format!("set {key} to where it is, readable for this user")));
        } else if !bytes.windows(11).any(|w| w == b"-----BEGIN ") {
            let text = format!("{}, which {key} names, is not in PEM form", path.display());
            self.problems.push(Problem::new(at, text).hint("convert it with openssl, or name another file"));
        }
    }
}
