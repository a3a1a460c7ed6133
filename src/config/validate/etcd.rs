//! `[etcd]`: where it is, who starts it, and how it is asked.

use std::path::PathBuf;

use super::super::settings::{ClientCertificate, Etcd, EtcdUser, Login, ManagedBy};
use super::super::{merged, schema};
use super::{Checker, path};

impl Checker<'_> {
    pub(super) fn etcd(&mut self, e: merged::Etcd) -> Option<Etcd> {
        let endpoint = self.ok("etcd.endpoint", schema::parse_etcd_url(&e.endpoint))?;
        let cert = self.file("etcd.cert_file", e.cert_file);
        let key = self.file("etcd.key_file", e.key_file);
        let ca = self.file("etcd.ca_file", e.ca_file);
        let unit = self.unit(e.unit, e.managed_by);
        if endpoint.scheme() == "http" && (cert.is_some() || ca.is_some()) {
            let used = if ca.is_some() { "etcd.ca_file" } else { "etcd.cert_file" };
            self.hinted(
                "etcd.endpoint",
                format!("{endpoint} is plain http, but {used} is set"),
                "write https:// in etcd.endpoint, or remove the certificates",
            );
        }
        if endpoint.scheme() == "https" && ca.is_none() {
            self.hinted(
                "etcd.endpoint",
                format!("{endpoint} is https, but etcd.ca_file is not set"),
                "set etcd.ca_file (kubeadm: /etc/kubernetes/pki/etcd/ca.crt); for a public CA: /etc/ssl/certs/ca-certificates.crt",
            );
        }
        let client_certificate = match (cert, key) {
            (Some(cert_file), Some(key_file)) => Some(ClientCertificate { cert_file, key_file }),
            (None, None) => None,
            (Some(_), None) => {
                self.hinted("etcd.cert_file", "etcd.key_file is not set", "set both or neither");
                None
            }
            (None, Some(_)) => {
                self.hinted("etcd.key_file", "etcd.cert_file is not set", "set both or neither");
                None
            }
        };
        let login = match (e.username.is_empty(), e.password_file.is_empty()) {
            (true, true) => None,
            (false, false) => self
                .secret_file("etcd.password_file", &e.password_file)
                .map(|password| Login { username: e.username, password }),
            (false, true) => {
                self.hinted("etcd.username", "etcd.password_file is not set", "set both or neither");
                None
            }
            (true, false) => {
                self.hinted("etcd.password_file", "etcd.username is not set", "set both or neither");
                None
            }
        };
        let data_dir = PathBuf::from(e.data_dir);
        let wal_dir = path(e.wal_dir);
        if wal_dir.as_ref().is_some_and(|w| data_dir.starts_with(w) || *w == data_dir.join("member")) {
            self.problem(
                "etcd.wal_dir",
                "it may not hold the data dir, nor be its member/; leave it empty for the usual place",
            );
        }
        Some(Etcd {
            managed_by: e.managed_by,
            unit,
            program: path(e.program),
            reset_program: e.reset_program,
            data_dir,
            wal_dir,
            user: (!e.user.is_empty()).then(|| EtcdUser::new(&e.user)),
            endpoint,
            ca_file: ca,
            client_certificate,
            login,
            election_prefix: e.election_prefix,
            manifest: PathBuf::from(e.manifest),
            environment_file: PathBuf::from(e.environment_file),
            rate_limit: schema::parse_rate(&e.rate_limit).ok(),
        })
    }

    fn unit(&mut self, text: String, managed_by: ManagedBy) -> String {
        if matches!(text.as_str(), "lifeboat.service" | "lifeboat-bootstrap.service" | "lifeboat-credentials.service") {
            let usual = managed_by.unit();
            self.hinted(
                "etcd.unit",
                format!("{text} is a unit of ours"),
                format!("name the unit that starts etcd, such as {usual:?}"),
            );
        }
        if text.is_empty() { managed_by.unit().to_owned() } else { text }
    }
}
