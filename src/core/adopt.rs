//! When a cluster that lives without a plan may be taken over as a life of its own, and what its plan says.

use super::facts::Life;
use super::model::{ClusterId, Generation, NodeName, Nonce, Timestamp};
use super::plan::{Plan, PlanCause, Voter};

/// Why a cluster is not adopted without a person's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAdopted {
    /// The store holds plans, and this cluster is in none of them.
    Plans(Generation),
    /// The store holds snapshots, and they need not be of this cluster.
    Snapshots(usize),
    /// This host has seen a later life: the store is the wrong one, or was rolled back.
    Remembered(Generation),
}

impl std::fmt::Display for NotAdopted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NotAdopted::Plans(newest) => {
                write!(f, "the store holds plans up to generation {newest}, and this cluster is in none of them")
            }
            NotAdopted::Snapshots(n) => {
                write!(f, "the store holds {n} snapshot(s) and no plan, so they may be of another cluster")
            }
            NotAdopted::Remembered(g) => {
                write!(f, "this host has seen generation {g}, and the store shows none: wrong bucket or folder?")
            }
        }
    }
}

/// What was seen before an adoption.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The newest plan of the store, if there is one.
    pub newest: Option<Generation>,
    /// Snapshots in the store, whatever their state.
    pub snapshots: usize,
    /// The highest generation that this host has seen; 0 for none.
    pub remembered: Generation,
}

/// Whether a cluster that existed before lifeboat may be adopted by itself: only where nothing speaks of any other.
///
/// # Errors
/// What speaks against it.
pub fn by_itself(seen: &Seen) -> Result<Generation, NotAdopted> {
    match seen.newest {
        Some(newest) => Err(NotAdopted::Plans(newest)),
        None if seen.snapshots > 0 => Err(NotAdopted::Snapshots(seen.snapshots)),
        None if seen.remembered > Generation(0) => Err(NotAdopted::Remembered(seen.remembered)),
        None => Ok(Generation(1)),
    }
}

/// The generation that a person's adoption begins: after everything that was ever seen.
pub fn next_generation(seen: &Seen) -> Generation {
    seen.newest.unwrap_or_default().max(seen.remembered).next()
}

/// The plan of an adopted life. Nothing is built from it: it has no snapshot, and the token that the cluster was formed with is nobody's to know.
pub fn plan(
    generation: Generation,
    cluster_id: ClusterId,
    voters: Vec<Voter>,
    seed: NodeName,
    created: Timestamp,
    nonce: Nonce,
) -> Plan {
    Plan {
        generation,
        cause: PlanCause::Adopted,
        request: None,
        snapshot: None,
        excluded: Vec::new(),
        voters,
        token: String::new(),
        cluster_id,
        reset: false,
        bump_revision: None,
        seed,
        created,
        nonce,
    }
}

/// The life that such a plan begins.
pub fn life(plan: &Plan) -> Life {
    Life {
        generation: plan.generation,
        cluster_id: plan.cluster_id,
        cause: plan.cause,
        cancelled: false,
        request: plan.request.clone(),
        may_live: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_nothing_speaks_of_another_cluster() {
        for (newest, snapshots, remembered, expected, by_a_person) in [
            (None, 0, 0, Ok(Generation(1)), 1),
            (Some(1), 0, 0, Err(NotAdopted::Plans(Generation(1))), 2),
            (Some(4), 9, 7, Err(NotAdopted::Plans(Generation(4))), 8),
            (None, 1, 0, Err(NotAdopted::Snapshots(1)), 1),
            (None, 0, 3, Err(NotAdopted::Remembered(Generation(3))), 4),
        ] {
            let seen = Seen { newest: newest.map(Generation), snapshots, remembered: Generation(remembered) };
            assert_eq!(by_itself(&seen), expected, "{seen:?}");
            assert_eq!(next_generation(&seen), Generation(by_a_person), "{seen:?}");
        }
    }
}
