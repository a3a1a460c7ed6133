//! The cluster token: what lets a host trust a record in the store.

use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::core::model::{ClusterName, Generation, Invalid};
use crate::core::record::{self, RecordKind, RecordProblem};

/// A shorter token could be guessed from any record.
pub(crate) const SHORTEST_TOKEN: usize = 16;

/// A cluster token. Debug prints its fingerprint only.
#[derive(Clone)]
pub struct Token {
    key: [u8; 32],
    fingerprint: String,
}

impl Token {
    /// Derives the signing key and the fingerprint from the token's text; white space around it does not count.
    ///
    /// # Errors
    /// When it is shorter than [`SHORTEST_TOKEN`] characters.
    pub fn new(text: &SecretString) -> Result<Self, Invalid> {
        let text = text.expose_secret().trim();
        if text.chars().count() < SHORTEST_TOKEN {
            return Err(Invalid::new("cluster token", "", format!("it is shorter than {SHORTEST_TOKEN} characters")));
        }
        let key = digest(text.as_bytes(), b"etcd-lifeboat: key of records");
        let fingerprint = digest(text.as_bytes(), b"etcd-lifeboat: fingerprint");
        Ok(Token { key, fingerprint: hex::encode(fingerprint.get(..8).unwrap_or_default()) })
    }

    /// 16 hexadecimal digits that tell tokens apart without giving them away.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn sign(&self, input: &[u8]) -> [u8; 32] {
        digest(&self.key, input)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({})", self.fingerprint)
    }
}

fn digest(key: &[u8], input: &[u8]) -> [u8; 32] {
    mac(key, input).finalize().into_bytes().into()
}

fn mac(key: &[u8], input: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length; the error type is there for other MACs.
    let mut mac = match <Hmac<Sha256> as Mac>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    };
    mac.update(input);
    mac
}

/// The token that signs, and those that are accepted for reading.
#[derive(Debug, Clone)]
pub struct Keyring {
    current: Token,
}

impl Keyring {
    /// One token signs and reads.
    pub fn new(current: Token) -> Self {
        Keyring { current }
    }

    /// Fingerprint of the signing token.
    pub fn fingerprint(&self) -> &str {
        self.current.fingerprint()
    }

    /// Makes the bytes of a signed record.
    ///
    /// # Errors
    /// When the body has no canonical JSON.
    pub fn seal<T: serde::Serialize>(
        &self,
        kind: RecordKind,
        key: &str,
        cluster: &ClusterName,
        generation: Generation,
        body: &T,
    ) -> Result<Vec<u8>, RecordProblem> {
        let body = serde_json::to_value(body).map_err(|e| RecordProblem::BadBody(e.to_string()))?;
        let input = record::signing_input(kind, key, cluster, generation, &body)?;
        let hmac = self.current.sign(&input);
        record::assemble(kind, cluster, generation, self.fingerprint(), body, &hmac)
    }

    /// Checks a record and gives its body with its generation.
    ///
    /// # Errors
    /// Any [`RecordProblem`]; none of them means "absent".
    pub fn open<T: serde::de::DeserializeOwned>(
        &self,
        kind: RecordKind,
        key: &str,
        cluster: &ClusterName,
        bytes: &[u8],
    ) -> Result<(T, Generation), RecordProblem> {
        let unverified = record::parse(kind, key, cluster, bytes)?;
        if unverified.token_fingerprint != self.fingerprint() {
            return Err(RecordProblem::OtherToken {
                theirs: unverified.token_fingerprint.chars().take(16).collect(),
                ours: self.fingerprint().to_owned(),
            });
        }
        mac(&self.current.key, &unverified.signing_input)
            .verify_slice(&unverified.hmac)
            .map_err(|_| RecordProblem::BadSignature)?;
        let generation = unverified.generation;
        Ok((unverified.into_body()?, generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn keyring(text: &str) -> Keyring {
        Keyring::new(Token::new(&SecretString::from(text)).unwrap())
    }

    #[test]
    fn a_record_opens_only_as_it_was_sealed() {
        let cluster = ClusterName::new("prod").unwrap();
        let ours = keyring("0123456789abcdef\n");
        let body = json!({"name": "x", "revision": 7});
        let sealed = ours.seal(RecordKind::Manifest, "snapshots/x", &cluster, Generation(2), &body).unwrap();
        let open = |k: &Keyring, kind, key: &str, bytes: &[u8]| k.open::<Value>(kind, key, &cluster, bytes);
        assert_eq!(open(&ours, RecordKind::Manifest, "snapshots/x", &sealed).unwrap(), (body, Generation(2)));

        let text = String::from_utf8(sealed.clone()).unwrap();
        assert_eq!(open(&ours, RecordKind::Manifest, "snapshots/y", &sealed).unwrap_err(), RecordProblem::BadSignature);
        for (from, to) in [("\"revision\": 7", "\"revision\": 8"), ("\"generation\": 2", "\"generation\": 3")] {
            let altered = text.replace(from, to);
            assert_ne!(altered, text);
            assert_eq!(
                open(&ours, RecordKind::Manifest, "snapshots/x", altered.as_bytes()).unwrap_err(),
                RecordProblem::BadSignature
            );
        }
        let other = keyring("fedcba9876543210");
        assert!(matches!(
            open(&other, RecordKind::Manifest, "snapshots/x", &sealed).unwrap_err(),
            RecordProblem::OtherToken { .. }
        ));
        // Claiming our fingerprint does not help.
        let lied = text.replace(ours.fingerprint(), other.fingerprint());
        assert_eq!(
            open(&other, RecordKind::Manifest, "snapshots/x", lied.as_bytes()).unwrap_err(),
            RecordProblem::BadSignature
        );
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_found() {
        let cluster = ClusterName::new("prod").unwrap();
        let ours = keyring("0123456789abcdef");
        let body = json!({"name": "x"});
        let sealed = ours.seal(RecordKind::Plan, "k", &cluster, Generation(1), &body).unwrap();
        for at in 0..sealed.len() {
            let mut bytes = sealed.clone();
            bytes[at] ^= 1;
            if let Ok(read) = ours.open::<Value>(RecordKind::Plan, "k", &cluster, &bytes) {
                // White space between tokens and the case of hex digits carry no meaning.
                assert_eq!(read, (body.clone(), Generation(1)), "byte {at}");
            }
        }
    }

    #[test]
    fn short_tokens_are_refused_and_no_token_is_printed() {
        assert!(Token::new(&SecretString::from("  short  ")).is_err());
        let t = Token::new(&SecretString::from("a-long-enough-secret")).unwrap();
        assert!(!format!("{t:?}").contains("secret"));
        assert_eq!(t.fingerprint().len(), 16);
    }
}
