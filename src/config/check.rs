//! Opens what the settings name, for `config check`.
//!
//! It exists so that a missing certificate is found before the first snapshot needs it. It may not use the network.

use std::collections::HashMap;

use crate::error::Error;

use super::ConfiguredFile;
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
    found.pem(etcd.ca_file.as_ref());
    if let Some(certificate) = &etcd.client_certificate {
        found.pem(Some(&certificate.cert_file));
        found.pem(Some(&certificate.key_file));
    }
    if let Some(login) = &etcd.login {
        found.add("etcd.password_file", login.password.read().err());
    }
    if let Store::S3(s3) = &settings.store {
        found.pem(s3.ca_file.as_ref());
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

    fn pem(&mut self, file: Option<&ConfiguredFile>) {
        let Some(file) = file else { return };
        let (key, path) = (file.key(), file.path().display());
        let at = self.origins.get(key).map_or("not set", String::as_str);
        match file.read(LARGEST_PEM) {
            Err(e) => {
                let text = format!("cannot read {path}, which {key} names: {e}");
                self.problems.push(Problem::new(at, text).hint(file.hint(&e)));
            }
            Ok(bytes) if !bytes.windows(11).any(|w| w == b"-----BEGIN ") => {
                let text = format!("{path}, which {key} names, is not in PEM form");
                self.problems.push(Problem::new(at, text).hint("convert it with openssl, or name another file"));
            }
            Ok(_) => {}
        }
    }
}
