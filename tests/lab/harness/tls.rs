//! A certificate authority of one lab.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// An own CA; certificates of different CAs do not trust each other.
pub struct Tls {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Tls {
    pub fn new(name: &str) -> Tls {
        let key = KeyPair::generate().expect("a CA key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).expect("a CA certificate").pem();
        Tls { issuer: Issuer::new(params, key), pem }
    }

    /// PEM text of the CA's certificate.
    pub fn ca_pem(&self) -> &str {
        &self.pem
    }

    /// PEM texts of a new certificate and its key, for servers and clients alike, valid for 127.0.0.1 and `addresses`.
    pub fn issue(&self, name: &str, addresses: &[&str]) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<_> = ["127.0.0.1", "localhost"].iter().chain(addresses).map(|&a| a.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names of a certificate");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        (cert.pem(), key.serialize_pem())
    }
}
