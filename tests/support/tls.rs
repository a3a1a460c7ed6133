//! A certificate authority for one test: servers and clients that trust nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// An own CA, with its files in a directory that goes with it.
pub struct TestCa {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// PEM files of one certificate.
#[derive(Debug, Clone)]
pub struct CertFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl TestCa {
    pub fn new(name: &str) -> TestCa {
        let key = KeyPair::generate().expect("a CA key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).expect("a CA certificate").pem();
        let dir = tempfile::Builder::new().prefix("lifeboat-ca-").tempdir().expect("a directory for certificates");
        fs::write(dir.path().join("ca.crt"), &pem).expect("write the CA certificate");
        TestCa { dir, issuer: Issuer::new(params, key), pem }
    }

    /// PEM file of the CA's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// PEM text of the CA's certificate.
    pub fn ca_pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for `name`, valid for 127.0.0.1 and localhost, for servers and for clients alike, as etcd's peers need it.
    pub fn issue(&self, name: &str) -> CertFiles {
        let (cert, key) = self.issue_pem(name, &[]);
        let files = CertFiles {
            cert: self.dir.path().join(format!("{name}.crt")),
            key: self.dir.path().join(format!("{name}.key")),
        };
        fs::write(&files.cert, cert).expect("write a certificate");
        fs::write(&files.key, key).expect("write a key");
        files
    }

    /// For a rustls server that asks for no client certificate.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor_of(self.issue_pem("server", &[]))
    }

    /// The same with a certificate that ended long ago.
    pub fn expired_acceptor(&self) -> TlsAcceptor {
        let mut params = server_params("server", &["127.0.0.1", "localhost"]);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.acceptor_of(self.sign(&params))
    }

    /// The same with a certificate for other names than 127.0.0.1 and localhost.
    pub fn acceptor_for(&self, names: &[&str]) -> TlsAcceptor {
        self.acceptor_of(self.sign(&server_params("server", names)))
    }

    fn acceptor_of(&self, (cert, key): (String, String)) -> TlsAcceptor {
        let cert = CertificateDer::from_pem_slice(cert.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .expect("a server certificate");
        TlsAcceptor::from(Arc::new(config))
    }

    /// PEM texts of a certificate that is valid for more addresses than those, and of its key.
    pub fn issue_pem(&self, name: &str, addresses: &[&str]) -> (String, String) {
        let sans: Vec<_> = ["127.0.0.1", "localhost"].iter().chain(addresses).copied().collect();
        self.sign(&server_params(name, &sans))
    }

    fn sign(&self, params: &CertificateParams) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        (cert.pem(), key.serialize_pem())
    }
}

fn server_params(name: &str, sans: &[&str]) -> CertificateParams {
    let sans: Vec<_> = sans.iter().map(|&a| a.to_owned()).collect();
    let mut params = CertificateParams::new(sans).expect("names of a certificate");
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}
