//! Is this member fit to be snapshotted? Pure: the caller asked, this judges.

use super::model::{Generation, Revision};

/// What was observed of the member before the stream.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// Whether it is a learner.
    pub is_learner: bool,
    /// What the member complains of, in etcd's words.
    pub errors: &'a [String],
}

/// Why a member must not be snapshotted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// A learner may lag without bound.
    Learner,
    /// etcd found that the members' data differ: this copy may be the wrong one.
    Corrupt,
}

/// Whether to take a snapshot from this member.
///
/// # Errors
/// The reason not to.
pub fn fit(observed: &Observation<'_>) -> Result<(), Unfit> {
    // etcd's Status lists alarms as `memberID:N alarm:CORRUPT `, and 3.5 also says `etcdserver: corrupt cluster`.
    if observed.errors.iter().any(|e| e.to_ascii_lowercase().contains("corrupt")) {
        return Err(Unfit::Corrupt);
    }
    if observed.is_learner {
        return Err(Unfit::Learner);
    }
    Ok(())
}

/// Whether a snapshot looks like that of an emptied cluster: within one generation its revision is less than half of the greatest one known.
///
/// Revisions never go back in one life of a cluster, so somebody restored or emptied it behind our back.
pub fn regressed(known: Option<(Generation, Revision)>, generation: Generation, revision: Revision) -> bool {
    known.is_some_and(|(of, highest)| of == generation && revision.0 < highest.0 / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learners_and_corrupt_members_are_unfit() {
        let says = |e: &str| vec![e.to_owned()];
        for (is_learner, errors, expected) in [
            (false, vec![], Ok(())),
            (false, says("memberID:10276657743932975437 alarm:NOSPACE "), Ok(())),
            (false, says("etcdserver: no leader"), Ok(())),
            (false, says("memberID:1 alarm:CORRUPT "), Err(Unfit::Corrupt)),
            (true, says("etcdserver: corrupt cluster"), Err(Unfit::Corrupt)),
            (true, vec![], Err(Unfit::Learner)),
        ] {
            assert_eq!(fit(&Observation { is_learner, errors: &errors }), expected, "{errors:?}");
        }
    }

    #[test]
    fn only_a_large_step_back_in_the_same_life_is_a_regression() {
        let known = Some((Generation(2), Revision(1000)));
        for (known, generation, revision, expected) in [
            (None, 2, 1, false),
            (known, 2, 1001, false),
            (known, 2, 500, false),
            (known, 2, 499, true),
            (known, 3, 1, false),
        ] {
            assert_eq!(
                regressed(known, Generation(generation), Revision(revision)),
                expected,
                "{generation}/{revision}"
            );
        }
    }
}
