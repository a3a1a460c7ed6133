//! The values that everything else speaks of: names, ids, revisions, digests.
//!
//! Each is parsed once, at the edge, and is valid from then on. Nothing here reads a clock or draws a random number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time, UTC. Always an argument, never read here.
pub type Timestamp = jiff::Timestamp;

/// A value that was refused, with the reason in words for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {why}")]
pub struct Invalid {
    what: &'static str,
    value: String,
    why: String,
}

impl Invalid {
    /// `what` names the kind of value, `why` what is wrong with it.
    pub fn new(what: &'static str, value: &str, why: impl Into<String>) -> Self {
        // A hostile name may be megabytes long.
        let value = value.chars().take(80).collect();
        Invalid { what, value, why: why.into() }
    }
}

/// Names become parts of object keys and file names: one safe alphabet for all of them.
fn check_name(what: &'static str, s: &str, longest: usize) -> Result<(), Invalid> {
    if s.is_empty() {
        return Err(Invalid::new(what, s, "it is empty"));
    }
    if s.len() > longest {
        return Err(Invalid::new(what, s, format!("it is longer than {longest} characters")));
    }
    if let Some(c) = s.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        return Err(Invalid::new(what, s, format!("{c:?} is not allowed; use letters, digits, '.', '_' and '-'")));
    }
    if s.starts_with(['.', '-']) {
        return Err(Invalid::new(what, s, "it may not start with '.' or '-'"));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $longest:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Parses and checks.
            ///
            /// # Errors
            /// When it is empty, too long, or has a character outside letters, digits, `.`, `_` and `-`.
            pub fn new(s: &str) -> Result<Self, Invalid> {
                check_name($what, s, $longest)?;
                Ok($name(s.to_owned()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(s: &str) -> Result<Self, Invalid> {
                $name::new(s)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let s = String::deserialize(d)?;
                $name::new(&s).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// Name of the cluster whose snapshots share one folder in the store.
    ClusterName,
    "cluster name",
    63
);
name!(
    /// Name of a control-plane host, which is also the name of its etcd member.
    NodeName,
    "node name",
    253
);
name!(
    /// Name of a snapshot, without folder or extension.
    SnapshotName,
    "snapshot name",
    128
);

impl SnapshotName {
    /// `<prefix>-<UTC start>`, as in `etcd-snapshot-2024-01-15T10-30-00Z`.
    ///
    /// # Errors
    /// When the prefix is no valid name.
    pub fn from_start(prefix: &str, start: Timestamp) -> Result<Self, Invalid> {
        let utc = start.strftime("%Y-%m-%dT%H-%M-%SZ");
        SnapshotName::new(&format!("{prefix}-{utc}"))
    }

    /// The same name with `-2`, `-3`, ... behind it, for two snapshots in one second.
    ///
    /// # Errors
    /// When the result is too long.
    pub fn with_suffix(&self, n: u32) -> Result<Self, Invalid> {
        SnapshotName::new(&format!("{}-{n}", self.0))
    }

    /// Whether this is `first`, or one of the same second with a suffix.
    #[must_use]
    pub fn is_or_follows(&self, first: &SnapshotName) -> bool {
        let number =
            |s: &str| s.strip_prefix('-').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        self.0.strip_prefix(&first.0).is_some_and(|rest| rest.is_empty() || number(rest))
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(s: &str) -> Result<Self, Invalid> {
                let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_hexdigit());
                u64::from_str_radix(s, 16)
                    .ok()
                    .filter(|_| digits)
                    .map($name)
                    .ok_or_else(|| Invalid::new($what, s, "it must be 1 to 16 hexadecimal digits"))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_id!(
    /// etcd's id of a member; text form is unpadded lower-case hexadecimal, as etcd prints it.
    MemberId,
    "member id"
);
hex_id!(
    /// etcd's id of a cluster; text form is unpadded lower-case hexadecimal, as etcd prints it.
    ClusterId,
    "cluster id"
);

/// etcd's position in its history of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Revision(pub i64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a cluster's life: 1 for the first, one more at each init or restore. 0 means "not known to any plan".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The life after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Generation(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Random bytes that tell whose write it was; 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub [u8; 16]);

/// A SHA-256 digest; 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

macro_rules! hex_bytes {
    ($name:ident, $what:literal, $n:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(s: &str) -> Result<Self, Invalid> {
                let mut bytes = [0u8; $n];
                hex::decode_to_slice(s, &mut bytes).map_err(|e| Invalid::new($what, s, e.to_string()))?;
                Ok($name(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_bytes!(Nonce, "nonce", 16);
hex_bytes!(Sha256, "sha256", 32);

/// The stream format of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// RFC 1952, the default: every host has `gunzip`.
    #[default]
    Gzip,
    /// Zstandard: faster and smaller.
    Zstd,
    /// The plain file.
    None,
}

impl Compression {
    /// What follows `.db` in the file name, with its dot.
    pub fn extension(self) -> &'static str {
        match self {
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
            Compression::None => "",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::None => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        for bad in ["", "..", "../x", "a/b", "a\0b", "a b", "-rf", ".hidden", "é", &"x".repeat(129)] {
            assert!(SnapshotName::new(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["a", "etcd-snapshot-2024-01-15T10-30-00Z", "pre_upgrade.v2"] {
            assert_eq!(SnapshotName::new(good).expect(good).as_str(), good);
        }
    }

    #[test]
    fn name_carries_the_start_in_utc() {
        let t: Timestamp = "2024-01-15T11:30:00+01:00".parse().expect("timestamp");
        let n = SnapshotName::from_start("etcd-snapshot", t).expect("name");
        assert_eq!(n.as_str(), "etcd-snapshot-2024-01-15T10-30-00Z");
        let second = n.with_suffix(2).expect("suffix");
        assert_eq!(second.as_str(), "etcd-snapshot-2024-01-15T10-30-00Z-2");
        assert!(n.is_or_follows(&n) && second.is_or_follows(&n) && !n.is_or_follows(&second));
        for other in [
            "etcd-snapshot-2024-01-15T10-30-01Z",
            "etcd-snapshot-2024-01-15T10-30-00Z-",
            "x-etcd-snapshot-2024-01-15T10-30-00Z",
        ] {
            assert!(SnapshotName::new(other).is_ok_and(|o| !o.is_or_follows(&n)), "{other}");
        }
    }

    #[test]
    fn ids_print_as_etcd_prints_them() {
        assert_eq!(MemberId(0x0a).to_string(), "a");
        assert_eq!("8e9e05c52164694d".parse::<MemberId>().expect("id"), MemberId(0x8e9e_05c5_2164_694d));
        for bad in ["", "+f", "0x1", "11111111111111111"] {
            assert!(bad.parse::<ClusterId>().is_err(), "{bad:?} was accepted");
        }
    }
}
