//! The one table of every configuration key: where it is, what shape its value has, what it is when nobody sets it.
//!
//! It exists so that parsing, defaults, hints, `config show` and the shipped file cannot disagree. A key is listed
//! here only when something honours it. It may not read files or the environment.

use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use url::Url;

use crate::core::model::{ClusterName, NodeName, SnapshotName, Timestamp};
use crate::core::schedule::Schedule;

/// Slower than this a snapshot of a usual size takes a day.
const SLOWEST: u64 = 64 << 10;

/// What values a key takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Text,
    /// Text that is never shown.
    Secret,
    Flag,
    Count {
        min: i64,
        max: i64,
    },
    Period,
    /// Bytes per second.
    Rate,
    /// An absolute path.
    Path,
    /// A path that may be relative to systemd's credentials directory.
    SecretPath,
    Url,
    /// A list of URLs, at least one.
    Urls,
    ClusterName,
    NodeName,
    Prefix,
    Zone,
    Cron,
    /// The name of a systemd service.
    Service,
    Choice(&'static [&'static str]),
    Tables(&'static [Key]),
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// Dotted path; inside an array of tables relative to the table.
    pub(super) path: &'static str,
    pub(super) shape: Shape,
    /// As TOML; `None`: somebody must set it. `""` means that it may stay empty.
    pub(super) default: Option<&'static str>,
}

const fn key(path: &'static str, shape: Shape, default: &'static str) -> Key {
    Key { path, shape, default: Some(default) }
}

const fn required(path: &'static str, shape: Shape) -> Key {
    Key { path, shape, default: None }
}

const MEMBER: &[Key] =
    &[required("name", Shape::NodeName), required("peer_urls", Shape::Urls), required("client_urls", Shape::Urls)];

const SCHEDULE: &[Key] = &[
    key("name", Shape::Prefix, r#""etcd-snapshot""#),
    key("cron", Shape::Cron, r#""0 * * * *""#),
    key("timezone", Shape::Zone, r#""UTC""#),
    key("run_on", Shape::Choice(&["one-member", "every-member"]), r#""one-member""#),
    key("compression", Shape::Choice(&["gzip", "zstd", "none"]), r#""gzip""#),
    key("jitter", Shape::Period, r#""30s""#),
];

/// Every key, in the order of `config show` and of the shipped file.
pub(super) const KEYS: &[Key] = &[
    required("cluster.name", Shape::ClusterName),
    key("cluster.token_file", Shape::SecretPath, r#""/etc/lifeboat/token""#),
    required("cluster.members", Shape::Tables(MEMBER)),
    key("cluster.expected_members", Shape::Count { min: 0, max: 9 }, "0"),
    key("node.name", Shape::NodeName, r#""""#),
    key("node.state_dir", Shape::Path, r#""/var/lib/lifeboat""#),
    key("node.compression_threads", Shape::Count { min: 0, max: 64 }, "0"),
    key("node.scheduling", Shape::Choice(&["idle", "batch", "normal"]), r#""idle""#),
    key("etcd.managed_by", Shape::Choice(&["systemd", "kubeadm", "k3s", "rke2"]), r#""systemd""#),
    key("etcd.unit", Shape::Service, r#""""#),
    key("etcd.program", Shape::Path, r#""""#),
    key("etcd.reset_program", Shape::Path, r#""""#),
    key("etcd.data_dir", Shape::Path, r#""/var/lib/etcd""#),
    key("etcd.wal_dir", Shape::Path, r#""""#),
    key("etcd.user", Shape::Text, r#""""#),
    key("etcd.endpoint", Shape::Url, r#""http://127.0.0.1:2379""#),
    key("etcd.ca_file", Shape::Path, r#""""#),
    key("etcd.cert_file", Shape::Path, r#""""#),
    key("etcd.key_file", Shape::Path, r#""""#),
    key("etcd.username", Shape::Text, r#""""#),
    key("etcd.password_file", Shape::SecretPath, r#""""#),
    key("etcd.election_prefix", Shape::Text, r#""/lifeboat/election""#),
    key("etcd.manifest", Shape::Path, r#""/etc/kubernetes/manifests/etcd.yaml""#),
    key("etcd.environment_file", Shape::Path, r#""/var/lib/lifeboat-bootstrap/etcd.env""#),
    key("etcd.rate_limit", Shape::Rate, r#""""#),
    key("store.backend", Shape::Choice(&["s3", "dir"]), r#""dir""#),
    key("store.dir.path", Shape::Path, r#""/var/lib/lifeboat/store""#),
    key("store.s3.endpoint", Shape::Text, r#""""#),
    key("store.s3.bucket", Shape::Text, r#""""#),
    key("store.s3.folder", Shape::Text, r#""""#),
    key("store.s3.region", Shape::Text, r#""us-east-1""#),
    key("store.s3.insecure", Shape::Flag, "false"),
    key("store.s3.path_style", Shape::Flag, "true"),
    key("store.s3.rate_limit", Shape::Rate, r#""""#),
    key("store.s3.ca_file", Shape::Path, r#""""#),
    key("store.s3.access_key", Shape::Secret, r#""""#),
    key("store.s3.access_key_file", Shape::SecretPath, r#""""#),
    key("store.s3.secret_key", Shape::Secret, r#""""#),
    key("store.s3.secret_key_file", Shape::SecretPath, r#""""#),
    key("store.s3.session_token", Shape::Secret, r#""""#),
    key("store.s3.session_token_file", Shape::SecretPath, r#""""#),
    key("schedule", Shape::Tables(SCHEDULE), "[{}]"),
    key("bootstrap.autorestore", Shape::Flag, "true"),
    key("bootstrap.snapshot", Shape::Prefix, r#""latest""#),
    key("bootstrap.initial_cluster_state", Shape::Choice(&["new", "existing"]), r#""new""#),
    key("bootstrap.peer_wait", Shape::Period, r#""2m""#),
    key("bootstrap.lost_after", Shape::Period, r#""10m""#),
    key("bootstrap.fallback", Shape::Count { min: 0, max: 1000 }, "3"),
    key("bootstrap.seed", Shape::NodeName, r#""""#),
    key("bootstrap.replace_damaged", Shape::Flag, "false"),
    key("bootstrap.bump_revision", Shape::Count { min: 0, max: 1 << 53 }, "1000000000"),
    key("bootstrap.state_dir", Shape::Path, r#""/var/lib/lifeboat-bootstrap""#),
    key("bootstrap.request_file", Shape::Path, r#""/etc/lifeboat/restore-once""#),
    key("log.level", Shape::Choice(&["error", "warn", "info", "debug", "trace"]), r#""info""#),
    key("log.format", Shape::Choice(&["auto", "text", "json"]), r#""auto""#),
];

impl Key {
    /// Whether the value is never shown.
    pub(super) fn secret(&self) -> bool {
        matches!(self.shape, Shape::Secret)
    }

    /// Whether an empty text means "not set".
    fn may_be_empty(&self) -> bool {
        self.default == Some(r#""""#)
    }

    /// Checks a text value. The error says what is wrong with it, without the value of a secret.
    pub(super) fn check_text(&self, text: &str) -> Result<(), String> {
        if text.is_empty() {
            return if self.may_be_empty() { Ok(()) } else { Err("it may not be empty".into()) };
        }
        if text.chars().any(char::is_control) {
            return Err("it has a control character (a line break?)".into());
        }
        match self.shape {
            Shape::Period => parse_period(text).map(drop),
            Shape::Rate => parse_rate(text).map(drop),
            Shape::Path if !Path::new(text).is_absolute() => Err(format!("{text:?} is not an absolute path")),
            Shape::Url | Shape::Urls => parse_etcd_url(text).map(drop),
            Shape::ClusterName => ClusterName::new(text).map(drop).map_err(|e| e.to_string()),
            Shape::NodeName => NodeName::new(text).map(drop).map_err(|e| e.to_string()),
            Shape::Prefix => check_prefix(text),
            Shape::Zone => parse_zone(text).map(drop),
            Shape::Cron => check_cron(text),
            Shape::Service => check_service(text),
            Shape::Choice(values) if !values.contains(&text) => {
                Err(format!("{text:?} is none of {}", quoted_list(values)))
            }
            _ => Ok(()),
        }
    }
}

/// `"a", "b" or "c"`.
pub(super) fn quoted_list(values: &[&str]) -> String {
    let quoted: Vec<String> = values.iter().map(|v| format!("{v:?}")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// A length of time: "90s", "2m", "1h30m"; at most a year.
pub(super) fn parse_period(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is not a length of time such as \"90s\", \"2m\" or \"1h30m\"");
    let signed: SignedDuration = text.parse().map_err(|_| bad())?;
    let period = Duration::try_from(signed).map_err(|_| format!("{text:?} is negative"))?;
    if period > Duration::from_secs(366 * 24 * 3600) {
        return Err(format!("{text:?} is longer than a year"));
    }
    Ok(period)
}

/// Bytes per second: "500KiB", "20MiB", "1GiB", or a bare number of bytes; at least 64 KiB.
pub(super) fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    let bad = || format!("{text:?} is not a number of bytes per second such as \"500KiB\", \"20MiB\" or \"1GiB\"");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match text.get(digits.len()..).unwrap_or_default().trim() {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1u64 << 30,
        _ => return Err(bad()),
    };
    let rate = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(bad)?;
    if rate < SLOWEST {
        return Err(format!("{text:?} is less than 64KiB per second: no snapshot would ever end"));
    }
    NonZeroU64::new(rate).ok_or_else(bad)
}

/// A URL of http or https with a host and nothing behind the port.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    // The other messages quote the text, and a password inside would be in it.
    if text.contains('@') {
        return Err("a user or password inside a URL is not supported".into());
    }
    let url = Url::parse(text)
        .map_err(|e| format!("{text:?} is not a URL ({e}); an example is \"https://10.0.0.1:2380\""))?;
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err(format!("{text:?} must start with http:// or https://"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("{text:?} has no host"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{text:?} has something behind host and port"));
    }
    Ok(url)
}

/// A URL of a member. etcd's member ids are made of the very text of the peer URLs, so nothing may be lost by parsing:
/// the port is spelled out, and the host is lower-case.
pub(super) fn parse_etcd_url(text: &str) -> Result<Url, String> {
    let url = parse_url(text)?;
    let written = text.trim_end_matches('/');
    if url.as_str().trim_end_matches('/') != written {
        return Err(format!("{text:?} is not in its plain form: lower-case, and a port other than 80 and 443"));
    }
    if url.port().is_none() {
        return Err(format!("{text:?} has no port; etcd's are 2379 for clients and 2380 for peers"));
    }
    Ok(url)
}

/// A time zone of the IANA database.
pub(super) fn parse_zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| {
        format!("the time zone {text:?} is not known here; examples are \"UTC\" and \"Europe/Berlin\" (package tzdata)")
    })
}

/// The name of a service that can be started: no path, no template.
fn check_service(text: &str) -> Result<(), String> {
    let Some(stem) = text.strip_suffix(".service") else {
        return Err(format!(
            "{text:?} is not the name of a service: it must end in \".service\", as in \"etcd.service\""
        ));
    };
    if stem.contains('/') {
        return Err(format!("{text:?} is a path; write the name of the unit alone, as in \"etcd.service\""));
    }
    if stem.ends_with('@') {
        return Err(format!("{text:?} is a template; name its instance, as in \"{stem}cp1.service\""));
    }
    if stem.is_empty() || stem.starts_with('@') || text.len() > 255 {
        return Err(format!("{text:?} is not the name of a service"));
    }
    match stem.chars().find(|c| !(c.is_ascii_alphanumeric() || ":_.\\@-".contains(*c))) {
        Some(c) => Err(format!("{text:?} has the character {c:?}, which no name of a unit has")),
        None => Ok(()),
    }
}

fn check_prefix(text: &str) -> Result<(), String> {
    // A time stamp and a suffix follow it in the name of a snapshot.
    let sample = format!("{text}-2024-01-15T10-30-00Z-9999");
    SnapshotName::new(text).and_then(|_| SnapshotName::new(&sample)).map(drop).map_err(|e| e.to_string())
}

fn check_cron(text: &str) -> Result<(), String> {
    let schedule = Schedule::parse(text, TimeZone::UTC).map_err(|e| e.to_string())?;
    // Any fixed time will do: a date that exists at all exists within the next eight years of it.
    match schedule.next_after(Timestamp::UNIX_EPOCH) {
        Some(_) => Ok(()),
        None => Err(format!("the schedule {text:?} never fires: there is no such date")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_rate;

    #[test]
    fn rates_are_bytes_with_a_unit() {
        let rate = |text: &str| parse_rate(text).map(std::num::NonZeroU64::get);
        for (text, bytes) in [("500KiB", 512_000), ("20MiB", 20 << 20), ("1 GiB", 1 << 30), ("65536", 65_536)] {
            assert_eq!(rate(text), Ok(bytes), "{text}");
        }
        for text in ["", "fast", "20MB", "20Mib", "-1MiB", "1.5MiB", "0", "63KiB", "99999999999GiB", "20MiB/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
