//! Certificates from files, read anew for each client. Every refusal names the file and its configuration key.

use etcd_client::{Certificate, Identity, TlsOptions};

use super::EndpointOptions;
use crate::config::ConfiguredFile;
use crate::ports::{EtcdError, EtcdErrorKind, EtcdResult};

/// No PEM file of ours comes near this.
const LARGEST_PEM: u64 = 1024 * 1024;

const HTTPS: &str = "https://";

/// `None` for plain http.
pub(super) fn options(o: &EndpointOptions) -> EtcdResult<Option<TlsOptions>> {
    if !o.url.starts_with(HTTPS) {
        return Ok(None);
    }
    let Some(ca_file) = &o.ca_file else {
        return Err(refuse(
            format!("etcd {}: an https endpoint needs the CA that signed etcd's certificate", o.url),
            "set etcd.ca_file (kubeadm: /etc/kubernetes/pki/etcd/ca.crt); for a public CA: /etc/ssl/certs/ca-certificates.crt",
        ));
    };
    let ca = pem(ca_file, "CERTIFICATE-----")?;
    let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(ca));
    if let Some((cert, key)) = &o.cert_and_key {
        let cert = pem(cert, "CERTIFICATE-----")?;
        let key = pem(key, "PRIVATE KEY-----")?;
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    Ok(Some(tls))
}

/// The same files for the peer port, which speaks plain HTTP/1.1 over TLS. `None` for plain http.
pub(super) fn for_http(o: &EndpointOptions) -> EtcdResult<Option<(Vec<u8>, Option<Vec<u8>>)>> {
    if !o.url.starts_with(HTTPS) {
        return Ok(None);
    }
    let Some(ca_file) = &o.ca_file else {
        return Err(refuse(
            format!("etcd peer {}: an https peer URL needs the CA that signed the peer certificates", o.url),
            "set etcd.ca_file (kubeadm: /etc/kubernetes/pki/etcd/ca.crt); peers are asked with the same files as clients",
        ));
    };
    let ca = pem(ca_file, "CERTIFICATE-----")?;
    let identity = match &o.cert_and_key {
        Some((cert, key)) => Some([pem(cert, "CERTIFICATE-----")?, pem(key, "PRIVATE KEY-----")?].join(&b'\n')),
        None => None,
    };
    Ok(Some((ca, identity)))
}

pub(super) fn refuse(text: String, hint: impl Into<String>) -> EtcdError {
    EtcdError { kind: EtcdErrorKind::Tls, text, hint: Some(hint.into()) }
}

fn pem(file: &ConfiguredFile, marker: &str) -> EtcdResult<Vec<u8>> {
    let (field, shown) = (file.key(), file.path().display());
    let bytes =
        file.read(LARGEST_PEM).map_err(|e| refuse(format!("cannot read {field} {shown}: {e}"), file.hint(&e)))?;
    // The library's own message for another kind of file names neither the file nor the problem.
    if !bytes.windows(marker.len()).any(|w| w == marker.as_bytes()) {
        let what = marker.trim_end_matches('-');
        return Err(refuse(format!("{field} {shown} holds no PEM block {what:?}"), "name a file in PEM format"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn options_for(url: &str) -> EndpointOptions {
        EndpointOptions { url: url.into(), ..EndpointOptions::default() }
    }

    #[test]
    fn every_refusal_names_the_file_and_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str, content: &str| -> PathBuf {
            let p = dir.path().join(name);
            std::fs::write(&p, content).unwrap();
            p
        };
        let as_ca = |p: &PathBuf| Some(ConfiguredFile::new("etcd.ca_file", p));
        let pair = |cert: &PathBuf, key: &PathBuf| {
            Some((ConfiguredFile::new("etcd.cert_file", cert), ConfiguredFile::new("etcd.key_file", key)))
        };
        let ca = path("ca.crt", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
        let der = path("ca.der", "\u{30}\u{1}");
        let base = options_for("https://127.0.0.1:1");
        let with = |change: &dyn Fn(&mut EndpointOptions)| {
            let mut o = base.clone();
            o.ca_file = as_ca(&ca);
            change(&mut o);
            options(&o).err().map(|e| e.text)
        };
        assert!(options(&options_for("http://127.0.0.1:1")).unwrap().is_none());
        assert_eq!(with(&|_| ()), None);
        for (change, parts) in [
            (&(|o: &mut EndpointOptions| o.ca_file = None) as &dyn Fn(&mut EndpointOptions), vec!["https", "CA"]),
            (&|o| o.ca_file = as_ca(&"/does/not/exist".into()), vec!["etcd.ca_file", "/does/not/exist"]),
            (&|o| o.ca_file = as_ca(&der), vec!["etcd.ca_file", "ca.der", "CERTIFICATE"]),
            (&|o| o.cert_and_key = pair(&der, &ca), vec!["etcd.cert_file", "ca.der"]),
            (&|o| o.cert_and_key = pair(&ca, &ca), vec!["etcd.key_file", "PRIVATE KEY"]),
        ] {
            let text = with(change).expect("refused");
            assert!(parts.iter().all(|p| text.contains(p)), "{text}");
        }
    }
}
