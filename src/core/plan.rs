//! What all members of one life restore (or that they form a new cluster), and the records around it.
//!
//! Each of these is written once, create-only, and never changed.

use serde::{Deserialize, Serialize};

use super::model::{ClusterId, Generation, NodeName, Nonce, Revision, Sha256, SnapshotName, Timestamp};
use super::peer_url;

/// Why a life began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanCause {
    /// A new, empty cluster: store known, no plan, no snapshot, no memory.
    Init,
    /// The cluster was lost; its best (or the pinned) snapshot is restored.
    Restore,
    /// A person asked for a restore, whatever is alive.
    Forced,
    /// A cluster that existed before lifeboat came; nothing is built from this plan.
    Adopted,
}

impl std::fmt::Display for PlanCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PlanCause::Init => "init",
            PlanCause::Restore => "restore",
            PlanCause::Forced => "forced",
            PlanCause::Adopted => "adopted",
        })
    }
}

/// A voter: its name is its slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Voter {
    /// Name of the host and of its member.
    pub name: NodeName,
    /// Peer URLs, in the order of the configuration.
    pub peer_urls: Vec<String>,
}

/// The snapshot that a plan restores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSnapshot {
    /// Name in the store.
    pub name: SnapshotName,
    /// Life that it was taken in.
    pub generation: Generation,
    /// Its revision.
    pub revision: Revision,
    /// Digest of the raw file, trailer included.
    pub raw_sha256: Sha256,
    /// Bytes of the raw file.
    pub raw_size: u64,
}

/// A better snapshot that was not taken, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// Its name.
    pub name: SnapshotName,
    /// What is wrong with it.
    pub why: String,
}

/// One life of the cluster. At most one plan per generation exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Number of this life.
    pub generation: Generation,
    /// Why it began.
    pub cause: PlanCause,
    /// Id of the one-shot request or pin that this plan consumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// What is restored; none for init and adopted.
    pub snapshot: Option<PlannedSnapshot>,
    /// Better snapshots that were damaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Excluded>,
    /// The initial cluster, which is its voters.
    pub voters: Vec<Voter>,
    /// etcd's initial-cluster-token: fresh and random in each life.
    pub token: String,
    /// The id that follows from voters and token.
    pub cluster_id: ClusterId,
    /// k3s, rke2: the seed alone restores, by a reset of the cluster. Its id is learnt then, and stands in the first record of the voters.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
    /// Revisions are moved on by this much, and older ones marked compacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bump_revision: Option<u64>,
    /// The node that wrote it.
    pub seed: NodeName,
    /// When, by the seed's clock; for people only.
    pub created: Timestamp,
    /// Tells our own write from another's.
    pub nonce: Nonce,
}

impl Plan {
    /// Whether `node` with exactly these peer URLs is a voter of this life.
    pub fn lists(&self, node: &NodeName, peer_urls: &[String]) -> bool {
        self.voters.iter().any(|v| &v.name == node && peer_url::same_set(&v.peer_urls, peer_urls))
    }

    /// Whether hosts build a data dir from this plan.
    pub fn is_built(&self) -> bool {
        self.cause != PlanCause::Adopted
    }
}

/// How a slot came to be marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkUse {
    /// The slot applies the plan.
    Apply,
    /// The slot joins the running life.
    Join,
    /// The seed took it, so that the slot cannot start in a life that is being declared dead.
    Barred,
}

/// The started mark: from here on the slot may have voted in this life, and never starts in it again with an empty log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedMark {
    /// The slot.
    pub node: NodeName,
    /// The life.
    pub generation: Generation,
    /// What it was taken for.
    pub purpose: MarkUse,
    /// Who took it.
    pub by: NodeName,
    /// The staging dir that belongs to this mark carries the same nonce.
    pub nonce: Nonce,
    /// When, by the taker's clock; for people only.
    pub at: Timestamp,
}

/// A configuration of a life, recorded before it takes effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VotersRecord {
    /// 1 for the first change of a life, then counted up.
    pub number: u64,
    /// The voters after the change.
    pub voters: Vec<Voter>,
    /// Whether the change was seen in effect.
    pub confirmed: bool,
    /// What a reset has made of its plan; only in the first record of such a life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<ClusterId>,
    /// Who wrote it.
    pub by: NodeName,
    /// Tells our own write from another's.
    pub nonce: Nonce,
}

/// A person's word about a plan (cancelled) or a life (lost).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonsWord {
    /// The life it is about.
    pub generation: Generation,
    /// The host it was typed on.
    pub by: NodeName,
    /// Why, in the person's words.
    pub reason: String,
    /// When, by that host's clock; for people only.
    pub at: Timestamp,
    /// Tells our own write from another's.
    pub nonce: Nonce,
}

/// Voters needed so that a majority of `n` has agreed.
pub fn majority(n: usize) -> usize {
    n / 2 + 1
}

/// Whether a majority of `a` and a majority of `b` can be found that share nobody: then both lives could be quorate at once.
pub fn majorities_can_be_disjoint(a: &[NodeName], b: &[NodeName]) -> bool {
    if a.is_empty() || b.is_empty() {
        return false;
    }
    let both = a.iter().filter(|n| b.contains(n)).count();
    let from_both = |n: usize| majority(n).saturating_sub(n - both.min(n));
    from_both(a.len()) + from_both(b.len()) <= both
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn voters(names: &str) -> Vec<Voter> {
        let voter = |n: &str| Voter { name: NodeName::new(n).unwrap(), peer_urls: vec![format!("http://{n}:2380")] };
        names.split_whitespace().map(voter).collect()
    }

    /// Records of voters from number 1 on, and whether they were confirmed.
    pub(crate) fn voters_records(all: &[(&str, bool)]) -> Vec<VotersRecord> {
        let record = |(i, (names, confirmed)): (usize, &(&str, bool))| VotersRecord {
            number: i as u64 + 1,
            voters: voters(names),
            confirmed: *confirmed,
            cluster_id: None,
            by: NodeName::new("a").unwrap(),
            nonce: Nonce([0; 16]),
        };
        all.iter().enumerate().map(record).collect()
    }

    /// A plan that restores nothing, by the first of its voters; the cluster has the number of the life.
    pub(crate) fn sample_plan(generation: u64, cause: PlanCause, voters: Vec<Voter>) -> Plan {
        Plan {
            generation: Generation(generation),
            cause,
            request: None,
            snapshot: None,
            excluded: vec![],
            seed: voters.first().map_or_else(|| NodeName::new("cp1").unwrap(), |v| v.name.clone()),
            voters,
            token: "t".into(),
            cluster_id: ClusterId(generation),
            reset: false,
            bump_revision: None,
            created: "2024-01-15T10:30:00Z".parse().unwrap(),
            nonce: Nonce([1; 16]),
        }
    }

    fn names(text: &str) -> Vec<NodeName> {
        text.split_whitespace().map(|n| NodeName::new(n).unwrap()).collect()
    }

    #[test]
    fn disjoint_majorities() {
        for (a, b, expected) in [
            ("a", "a", false),
            ("a", "b", true),
            ("a b c", "a b c", false),
            ("a b c", "a b d", true),
            ("a b c", "a d e", true),
            ("a", "a b c", true),
            ("a b", "a b c", false),
            ("a b c d", "a b c d", false),
            ("a b c d", "a b", false),
            ("a b c d e", "c d e f g", true),
            ("a b c d e", "b c d e f", true),
            ("a b c", "a b", false),
            ("", "a", false),
        ] {
            assert_eq!(majorities_can_be_disjoint(&names(a), &names(b)), expected, "{a:?} {b:?}");
            assert_eq!(majorities_can_be_disjoint(&names(b), &names(a)), expected, "{b:?} {a:?}");
        }
    }

    /// The closed form against every choice of majorities, for all pairs of sets of up to five out of six names.
    #[test]
    fn disjoint_majorities_agree_with_brute_force() {
        let all = names("a b c d e f");
        let pick = |mask: u32| -> Vec<NodeName> {
            all.iter().enumerate().filter(|(i, _)| mask & (1 << i) != 0).map(|(_, n)| n.clone()).collect()
        };
        for a in 1u32..64 {
            for b in 1u32..64 {
                let quorum = |set: u32| {
                    (0u32..64).filter(move |m| {
                        m & !set == 0 && majority(set.count_ones() as usize) <= m.count_ones() as usize
                    })
                };
                let expected = quorum(a).any(|qa| quorum(b).any(|qb| qa & qb == 0));
                assert_eq!(majorities_can_be_disjoint(&pick(a), &pick(b)), expected, "{a:b} {b:b}");
            }
        }
    }
}
