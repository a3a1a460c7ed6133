//! Which snapshot: the eligible ones, why the others are not, and the best by `(generation, revision, started)`.
//!
//! Object times never play a part: a restore moves revisions back, and copies move dates.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::facts::{LocalEtcd, Observed};
use super::model::{ClusterId, Generation, Revision, Sha256, SnapshotName, Timestamp};
use super::plan::{Excluded, Voter};

/// A snapshot in the store, as far as a choice looks at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFact {
    /// Its name.
    pub name: SnapshotName,
    /// What its manifest says, or why the manifest cannot be trusted.
    pub manifest: Result<Candidate, String>,
}

/// What a trusted manifest says of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Cluster that it was taken from.
    pub cluster_id: ClusterId,
    /// Life of that cluster, which follows from the plans; 0 when it is older than all of them.
    pub generation: Generation,
    /// Its revision, read from the snapshot itself.
    pub revision: Revision,
    /// When it was begun.
    pub started: Timestamp,
    /// Digest of the raw file, trailer included.
    pub raw_sha256: Sha256,
    /// Bytes of the raw file.
    pub raw_size: u64,
    /// Only `snapshot` restores a cluster.
    pub kind: String,
    /// Whether the cluster was quorate when it was taken.
    pub quorum: bool,
    /// Storage version, from etcd 3.6 on.
    #[serde(default)]
    pub storage_version: Option<String>,
    /// Why a verification found it damaged.
    #[serde(default)]
    pub damaged: Option<String>,
    /// Whether the payload object is there.
    pub payload_present: bool,
    /// Voters of the cluster when it was taken.
    #[serde(default)]
    pub voters: Vec<Voter>,
}

/// Why a snapshot may not be restored, when it may not.
///
/// `by_name`: a person named this very snapshot, so an emergency snapshot (taken without quorum) counts.
pub fn ineligible(s: &SnapshotFact, by_name: bool) -> Option<String> {
    let c = match &s.manifest {
        Ok(c) => c,
        Err(why) => return Some(why.clone()),
    };
    if c.kind != "snapshot" {
        return Some(format!("it is of kind {:?}, which does not restore a cluster", c.kind));
    }
    if let Some(what) = &c.damaged {
        return Some(format!("a verification found it damaged: {what}"));
    }
    if !c.payload_present {
        return Some("its payload is gone from the store".into());
    }
    if !c.quorum && !by_name {
        return Some("it was taken without quorum and is restored only by name".into());
    }
    None
}

/// A release of etcd: `3.6`, as also a storage version has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(u32, u32);

impl Release {
    /// That of a version: `3.6` of `3.6.0`, `3.6.0-rc.1` and `3.6`. `None`: it is none.
    pub fn of(version: &str) -> Option<Release> {
        let mut parts = version.split('.');
        let mut number = || {
            let digits = parts.next()?;
            digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        Some(Release(number()?, number()?))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Whether an etcd can take data of a storage version, which etcd 3.6 was the first to write down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Takes {
    /// It can.
    Yes,
    /// It is older than this release, and what follows from that.
    TooOld(Release, String),
    /// That could not be found out, in words that follow the name of the snapshot.
    NotKnown(String),
}

/// Whether this etcd can take data of this storage version. `None`: nobody looked which one it is.
pub fn takes(storage: &str, etcd: Option<&Observed<LocalEtcd>>) -> Takes {
    let Some(needed) = Release::of(storage) else {
        return Takes::NotKnown(format!(
            "may need a newer etcd than the one that will run on it: its storage version {storage:?} cannot be read"
        ));
    };
    let not_known = |why: &str| {
        Takes::NotKnown(format!("needs etcd {needed} or newer, and which one will run on it is not known: {why}"))
    };
    let etcd = match etcd {
        None => return not_known("it was not looked at"),
        Some(Observed::Unknown(cause)) => return not_known(&cause.text),
        Some(Observed::Known(etcd)) => etcd,
    };
    let Some(there) = Release::of(&etcd.version) else {
        return not_known(&format!("{:?} ({}) cannot be read", etcd.version, etcd.found_in));
    };
    if needed <= there {
        return Takes::Yes;
    }
    // Tried with 3.4.23, 3.5.30 and 3.6.16.
    let then = match there < Release(3, 6) {
        true => "which would serve such data and write to it, without a word",
        false => "which does not start on it",
    };
    let why =
        format!("its storage version is {storage}, and the etcd here is {} ({}), {then}", etcd.version, etcd.found_in);
    Takes::TooOld(needed, why)
}

/// The best snapshot that may be restored on nobody's word but the configuration's, those in `excluded` left out.
pub fn best<'a>(snapshots: &'a [SnapshotFact], excluded: &[Excluded]) -> Option<(&'a SnapshotName, &'a Candidate)> {
    snapshots
        .iter()
        .filter(|s| ineligible(s, false).is_none())
        .filter(|s| !excluded.iter().any(|e| e.name == s.name))
        .filter_map(|s| s.manifest.as_ref().ok().map(|c| (&s.name, c)))
        .max_by_key(|(name, c)| (c.generation, c.revision, c.started, *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(name: &str, generation: u64, revision: i64, started: &str) -> SnapshotFact {
        SnapshotFact {
            name: SnapshotName::new(name).unwrap(),
            manifest: Ok(Candidate {
                cluster_id: ClusterId(1),
                generation: Generation(generation),
                revision: Revision(revision),
                started: started.parse().unwrap(),
                raw_sha256: Sha256([0; 32]),
                raw_size: 1,
                kind: "snapshot".into(),
                quorum: true,
                storage_version: None,
                damaged: None,
                payload_present: true,
                voters: vec![],
            }),
        }
    }

    #[test]
    fn order_is_generation_then_revision_then_start() {
        let all = [
            snapshot("old-life-high-revision", 1, 500, "2024-03-01T00:00:00Z"),
            snapshot("new-life", 2, 100, "2024-02-01T00:00:00Z"),
            snapshot("new-life-again", 2, 100, "2024-02-01T00:00:01Z"),
            snapshot("new-life-early", 2, 99, "2025-01-01T00:00:00Z"),
        ];
        assert_eq!(best(&all, &[]).unwrap().0.as_str(), "new-life-again");
        let excluded = [Excluded { name: SnapshotName::new("new-life-again").unwrap(), why: String::new() }];
        assert_eq!(best(&all, &excluded).unwrap().0.as_str(), "new-life");
        assert!(best(&[], &[]).is_none());
    }

    #[test]
    fn what_cannot_be_read_is_neither_old_nor_new() {
        for (version, release) in [
            ("3.6", Some("3.6")),
            ("3.6.0", Some("3.6")),
            ("3.10.0-rc.1", Some("3.10")),
            ("v3.6.0", None),
            ("3", None),
            ("3.", None),
            ("+3.6", None),
            ("3.six", None),
            ("99999999999.0", None),
            ("", None),
        ] {
            assert_eq!(Release::of(version).map(|r| r.to_string()).as_deref(), release, "{version:?}");
        }
        let etcd = |version: &str| Observed::Known(LocalEtcd { version: version.into(), found_in: "a file".into() });
        for (storage, local, said) in [
            ("3.6.0", Some("3.10.1"), ""),
            ("3.7.0", Some("3.6.16"), "too old: does not start on it"),
            ("3.6.0", Some("3.5.30"), "too old: without a word"),
            ("3.6.0", Some("v3.5.30"), "not known: \"v3.5.30\" (a file) cannot be read"),
            ("3.6.0", None, "not known: it was not looked at"),
            ("\u{1}", Some("3.6.0"), "not known: storage version \"\\u{1}\" cannot be read"),
        ] {
            let takes = takes(storage, local.map(etcd).as_ref());
            let (is, why) = match &takes {
                Takes::Yes => ("", ""),
                Takes::TooOld(_, why) => ("too old", why.as_str()),
                Takes::NotKnown(why) => ("not known", why.as_str()),
            };
            let (wanted, words) = said.split_once(": ").unwrap_or_default();
            assert!(is == wanted && why.contains(words), "{storage:?} under {local:?}: {takes:?}");
        }
    }

    #[test]
    fn what_is_not_eligible_says_why() {
        let change = |f: fn(&mut Candidate)| {
            let mut s = snapshot("a", 1, 1, "2024-01-01T00:00:00Z");
            if let Ok(c) = &mut s.manifest {
                f(c);
            }
            s
        };
        let unsigned = SnapshotFact {
            name: SnapshotName::new("a").unwrap(),
            manifest: Err("its signature does not match".into()),
        };
        for (s, by_name, expected) in [
            (change(|_| ()), false, None),
            (unsigned, true, Some("signature")),
            (change(|c| c.kind = "keys".into()), true, Some("kind")),
            (change(|c| c.damaged = Some("digest".into())), true, Some("damaged")),
            (change(|c| c.payload_present = false), true, Some("gone")),
            (change(|c| c.quorum = false), false, Some("without quorum")),
            (change(|c| c.quorum = false), true, None),
            // Which etcd there is, is asked when it would be restored: the newest is restored or nothing.
            (change(|c| c.storage_version = Some("9.9.0".into())), false, None),
        ] {
            let why = ineligible(&s, by_name);
            match expected {
                None => assert_eq!(why, None),
                Some(part) => assert!(why.as_deref().is_some_and(|w| w.contains(part)), "{why:?} lacks {part:?}"),
            }
        }
    }
}
