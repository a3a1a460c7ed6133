//! Keys to sign with: given, or from rust-s3's `awscreds` and refreshed before they expire.
//!
//! It exists because `awscreds` blocks, refreshes only after expiry and hides why nothing was found. Secrets leave this
//! module only for the signature; no text of a provider's failure is passed on, since some hold tokens.

use std::sync::Arc;
use std::time::Duration;

use s3::creds;
use s3::creds::error::CredentialsError;
use secrecy::SecretString;

use crate::core::model::Timestamp;
use crate::ports::{Clock, StoreError, StoreErrorKind, StoreResult};

use super::options::CredentialSource;

/// Temporary keys are replaced this long before they expire.
const EARLY: i64 = 5 * 60;
/// Keys that do not expire (a profile) are read again after this many seconds.
const READ_AGAIN: i64 = 60;

pub(super) struct Keys {
    pub(super) access: String,
    pub(super) secret: SecretString,
    pub(super) token: Option<SecretString>,
    /// Seconds of Unix time.
    expires: Option<i64>,
}

#[cfg(test)]
impl Keys {
    pub(super) fn given(access: &str, secret: &str) -> Self {
        Keys { access: access.to_owned(), secret: SecretString::from(secret.to_owned()), token: None, expires: None }
    }
}

struct Cached {
    keys: Arc<Keys>,
    refresh_at: i64,
}

pub(super) struct Credentials {
    source: CredentialSource,
    cached: tokio::sync::Mutex<Option<Cached>>,
    clock: Arc<dyn Clock>,
    limit: Duration,
}

impl Credentials {
    pub(super) fn new(source: CredentialSource, clock: Arc<dyn Clock>, limit: Duration) -> Self {
        Credentials { source, cached: tokio::sync::Mutex::new(None), clock, limit }
    }

    /// Keys that are good for some minutes. One caller fetches, the others wait for it.
    pub(super) async fn get(&self) -> StoreResult<Arc<Keys>> {
        if let CredentialSource::Static { access_key, secret_key, session_token } = &self.source {
            return Ok(Arc::new(Keys {
                access: access_key.clone(),
                secret: secret_key.clone(),
                token: session_token.clone(),
                expires: None,
            }));
        }
        let mut cached = self.cached.lock().await;
        let now = self.clock.now().as_second();
        if let Some(cached) = cached.as_ref().filter(|c| now < c.refresh_at) {
            return Ok(cached.keys.clone());
        }
        let old = cached.as_ref().map(|c| c.keys.clone());
        match (self.fetch().await, old) {
            (Ok(keys), _) => {
                let keys = Arc::new(keys);
                *cached = Some(Cached { refresh_at: refresh_at(keys.expires, now), keys: keys.clone() });
                Ok(keys)
            }
            // What we have may still do, and the store will say so if not.
            (Err(e), Some(keys)) if keys.expires.is_none_or(|t| now < t) => {
                tracing::warn!(error = %e, "cannot refresh the S3 credentials; using those at hand");
                *cached = Some(Cached { keys: keys.clone(), refresh_at: now.saturating_add(READ_AGAIN) });
                Ok(keys)
            }
            (Err(e), _) => Err(e),
        }
    }

    /// The store refused these keys as expired: fetch new ones for the next request.
    pub(super) async fn forget(&self) {
        *self.cached.lock().await = None;
    }

    async fn fetch(&self) -> StoreResult<Keys> {
        let fetched = tokio::time::timeout(self.limit, tokio::task::spawn_blocking(chain)).await;
        match fetched {
            Ok(Ok(Ok(keys))) => Ok(keys),
            Ok(Ok(Err(why))) => Err(missing(&why)),
            Ok(Err(_)) => Err(missing("reading them was cut short")),
            Err(_) => Err(missing(&format!("no answer within {} s", self.limit.as_secs()))),
        }
    }
}

fn missing(why: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Denied, format!("cannot find S3 credentials: {why}")).hint(
        "set store.s3.access_key and store.s3.secret_key_file, or give this host a profile (~/.aws/credentials) or an instance role",
    )
}

/// When keys that expire at `expires` are to be replaced. Keys with a very short life are used for half of it.
fn refresh_at(expires: Option<i64>, now: i64) -> i64 {
    match expires {
        None => now.saturating_add(READ_AGAIN),
        Some(t) => {
            let left = t.saturating_sub(now).max(0);
            t.saturating_sub(EARLY.min(left / 2))
        }
    }
}

/// Each source in turn. Blocking.
fn chain() -> Result<Keys, String> {
    type Source = fn() -> Result<creds::Credentials, CredentialsError>;
    // The library's own limit is 30 s per request of several.
    creds::set_request_timeout(Some(Duration::from_secs(5)));
    let sources: [(&str, Source); 6] = [
        ("environment", creds::Credentials::from_env),
        ("profile", || creds::Credentials::from_profile(std::env::var("AWS_PROFILE").ok().as_deref())),
        ("web identity", || creds::Credentials::from_sts_env("etcd-lifeboat")),
        ("container", creds::Credentials::from_container_credentials_provider),
        ("instance metadata v2", || creds::Credentials::from_instance_metadata_v2(false)),
        ("instance metadata v1", || creds::Credentials::from_instance_metadata(false)),
    ];
    let mut reasons = Vec::new();
    for (name, source) in sources {
        match source().map_err(|e| describe(&e)).and_then(keys) {
            Ok(keys) => {
                tracing::debug!(source = name, "S3 credentials found");
                return Ok(keys);
            }
            Err(why) => reasons.push(format!("{name}: {why}")),
        }
    }
    Err(reasons.join("; "))
}

fn keys(found: creds::Credentials) -> Result<Keys, String> {
    let (Some(access), Some(secret)) = (found.access_key, found.secret_key) else {
        return Err("it has no access key or no secret key".to_owned());
    };
    if access.is_empty() || secret.is_empty() {
        return Err("its access key or secret key is empty".to_owned());
    }
    let expires = found.expiration.and_then(|t| Timestamp::from_second(t.unix_timestamp()).ok()).map(|t| t.as_second());
    Ok(Keys {
        access,
        secret: SecretString::from(secret),
        token: found.session_token.or(found.security_token).map(SecretString::from),
        expires,
    })
}

/// In our own words: texts of HTTP and XML failures may quote requests.
fn describe(e: &CredentialsError) -> String {
    match e {
        CredentialsError::MissingEnvVar(_, name) => format!("{name} is not set"),
        CredentialsError::Env(_) => "not configured".to_owned(),
        CredentialsError::NotEc2 => "this is no EC2 instance".to_owned(),
        CredentialsError::NotContainer => "not configured".to_owned(),
        CredentialsError::ConfigNotFound => "the credentials file has no such profile".to_owned(),
        CredentialsError::ConfigMissingAccessKeyId => "the profile has no aws_access_key_id".to_owned(),
        CredentialsError::ConfigMissingSecretKey => "the profile has no aws_secret_access_key".to_owned(),
        CredentialsError::Ini(creds_error) => match creds_error {
            ini if ini.to_string().contains("os error 2") => "there is no credentials file".to_owned(),
            _ => "the credentials file cannot be read".to_owned(),
        },
        CredentialsError::Io(io) => format!("a file or connection failed ({:?})", io.kind()),
        CredentialsError::UnexpectedStatusCode(status) => format!("the service answered {status}"),
        CredentialsError::HomeDir => "there is no home directory".to_owned(),
        _ => "the service did not answer with credentials".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_replaced_early() {
        let cases = [
            (None, 1000, 1060),
            (Some(10_000), 1000, 9700),
            // Ten minutes and less to live: half of it.
            (Some(1200), 1000, 1100),
            (Some(1000), 1000, 1000),
            (Some(500), 1000, 500),
        ];
        for (expires, now, expected) in cases {
            assert_eq!(refresh_at(expires, now), expected, "{expires:?} at {now}");
        }
    }

    #[test]
    fn half_a_pair_is_no_key() {
        let half = creds::Credentials::new(Some("id"), None, None, None, None).expect("credentials");
        assert!(keys(half).is_err());
        let empty = creds::Credentials::new(Some("id"), Some(""), None, None, None).expect("credentials");
        assert!(keys(empty).is_err());
    }
}
