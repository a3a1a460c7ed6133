//! What a caller says about an S3 store, and every limit that it works within.
//!
//! It exists so that no limit hides in the code that obeys it, and so that tests can make each of them short.

use std::num::NonZeroU64;
use std::time::Duration;

use secrecy::SecretString;

use crate::config::ConfiguredFile;

/// Where the store is and how to reach it. Field names are those of `[store.s3]`.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// Host, optionally with scheme, port and path: `s3.eu-west-2.amazonaws.com`, `https://minio.example:9000`.
    pub endpoint: String,
    /// Bucket.
    pub bucket: String,
    /// Prefix of every key; slashes around it do not matter; may be empty.
    pub folder: String,
    /// Region to sign for. Default: the one in an amazonaws.com endpoint, else `us-east-1`.
    pub region: Option<String>,
    /// Plain http instead of https.
    pub insecure: bool,
    /// Bucket in the path instead of the host name. Default: yes, except on amazonaws.com (and there too for a bucket
    /// with dots, which no certificate covers).
    pub path_style: Option<bool>,
    /// PEM file with CA certificates to trust besides those of the system.
    pub ca_file: Option<ConfiguredFile>,
    /// Who we are.
    pub credentials: CredentialSource,
    /// Limits of time, memory and number.
    pub limits: Limits,
}

/// Where the keys come from. `Debug` does not show them.
#[derive(Debug, Clone)]
pub enum CredentialSource {
    /// Given.
    Static {
        /// Key id; no secret.
        access_key: String,
        /// Secret.
        secret_key: SecretString,
        /// Of temporary keys.
        session_token: Option<SecretString>,
    },
    /// In this order: environment (`AWS_ACCESS_KEY_ID`), profile (`~/.aws/credentials`, `AWS_PROFILE`), web identity,
    /// container, instance role.
    Chain,
}

/// The limits of an S3 store. Each wait ends; none limits the duration of a whole object.
#[derive(Debug, Clone)]
pub struct Limits {
    /// DNS, TCP and TLS together.
    pub connect: Duration,
    /// Longest time without a byte moving, in either direction.
    pub idle: Duration,
    /// Longest wait for the answer once a request has been sent.
    pub answer: Duration,
    /// The same for the completion of a multipart upload, where the store assembles the object.
    pub complete: Duration,
    /// Longest wait for credentials from the chain.
    pub credentials: Duration,
    /// How often one request is sent at most.
    pub attempts: u32,
    /// No further attempt is made this long after the first one.
    pub retry_for: Duration,
    /// First wait between attempts; doubles each time.
    pub backoff: Duration,
    /// Longest wait between attempts.
    pub backoff_cap: Duration,
    /// Files up to this size are sent in one request, larger ones in parts of this size (bytes; more when 10,000 parts
    /// would not do). S3 wants at least 5 MiB.
    pub part_size: u64,
    /// Parts in memory and on the way at once.
    pub parts_in_flight: usize,
    /// Objects per page of a listing, 1 to 1000.
    pub page_size: u32,
    /// How often a broken download is taken up again without having moved on by a mebibyte.
    pub resumes: u32,
    /// Bytes per second of parts and downloads together, at most.
    pub rate: Option<NonZeroU64>,
    /// Longest duration of one search for uploads that nobody will finish, their removal included.
    pub sweep: Duration,
    /// Longest wait for the answer to a request that carries nothing: a store that hangs is given up then.
    pub reply: Duration,
    /// Told in words, every few seconds, that a request waits or is sent again, and why.
    pub tell: Option<fn(&str)>,
    /// Told in words, once a run, what is odd about a store that answers.
    pub warn: Option<fn(&str)>,
}

impl Limits {
    /// For a person who waits at a terminal: what cannot work fails within about 15 s, and nothing is silent.
    pub fn by_hand(tell: fn(&str), warn: fn(&str)) -> Self {
        Limits {
            connect: Duration::from_secs(5),
            reply: Duration::from_secs(20),
            attempts: 6,
            retry_for: Duration::from_secs(12),
            backoff_cap: Duration::from_secs(4),
            tell: Some(tell),
            warn: Some(warn),
            ..Limits::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            answer: Duration::from_secs(60),
            complete: Duration::from_secs(300),
            credentials: Duration::from_secs(20),
            attempts: 8,
            retry_for: Duration::from_secs(90),
            backoff: Duration::from_millis(250),
            backoff_cap: Duration::from_secs(15),
            part_size: 8 << 20,
            parts_in_flight: 2,
            page_size: 1000,
            resumes: 8,
            rate: None,
            sweep: Duration::from_secs(180),
            reply: Duration::from_secs(60),
            tell: None,
            warn: None,
        }
    }
}
