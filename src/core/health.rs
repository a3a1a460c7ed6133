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

/// Why a member must not be snapshotted, or not be the one that takes the snapshots of its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// A learner may lag without bound.
    Learner,
    /// etcd found that the members' data differ: this copy may be the wrong one.
    Corrupt,
    /// There is a leader, and this member does not catch up with it in time.
    Lagging,
    /// The store does not answer this host, and may answer another.
    NoStore,
    /// It failed to save, and another member may be able to.
    Failing,
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Unfit::Learner => "it is a learner",
            Unfit::Corrupt => "it has the CORRUPT alarm",
            Unfit::Lagging => "it lags behind its leader",
            Unfit::NoStore => "the store does not answer this host",
            Unfit::Failing => "its last snapshot failed",
        })
    }
}

/// What a look at the local member says about its part in the election of who takes the snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// It is the only voter: there is nobody to be elected among.
    Alone,
    /// It may stand for election.
    Candidate,
    /// It must not, or must resign.
    Unfit(Unfit),
    /// The cluster has no quorum, so nobody can be elected: each member saves its own emergency snapshots.
    NoQuorum,
}

/// What was seen of the local member and its cluster for [`part`].
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The member itself.
    pub member: Observation<'a>,
    /// Whether it knows a leader.
    pub has_leader: bool,
    /// Whether its linearizable read was answered.
    pub read: bool,
    /// Voters of its cluster; `None` when they could not be listed.
    pub voters: Option<usize>,
    /// Whether the store answered this host last time; `true` while nobody asked.
    pub store: bool,
}

/// Which part the member takes. What makes its data the wrong ones comes before everything else.
pub fn part(s: &Standing<'_>) -> Part {
    match fit(&s.member) {
        Err(unfit) => Part::Unfit(unfit),
        Ok(()) if !s.read && !s.has_leader => Part::NoQuorum,
        Ok(()) if !s.read => Part::Unfit(Unfit::Lagging),
        // With the store away there is nobody better than the only one.
        Ok(()) if s.voters == Some(1) => Part::Alone,
        Ok(()) if !s.store => Part::Unfit(Unfit::NoStore),
        Ok(()) => Part::Candidate,
    }
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
    fn who_may_be_elected() {
        let corrupt = vec!["memberID:1 alarm:CORRUPT ".to_owned()];
        type Case<'a> = (&'a str, bool, &'a [String], bool, bool, Option<usize>, bool, Part);
        let cases: [Case<'_>; 10] = [
            ("one of three", false, &[], true, true, Some(3), true, Part::Candidate),
            ("the only one", false, &[], true, true, Some(1), true, Part::Alone),
            ("the only one, the store away", false, &[], true, true, Some(1), false, Part::Alone),
            ("the only voter is somebody else", true, &[], true, true, Some(1), true, Part::Unfit(Unfit::Learner)),
            ("a list that failed", false, &[], true, true, None, true, Part::Candidate),
            ("the store away", false, &[], true, true, Some(3), false, Part::Unfit(Unfit::NoStore)),
            ("no leader", false, &[], false, false, None, true, Part::NoQuorum),
            ("no leader, and corrupt", false, &corrupt, false, false, None, true, Part::Unfit(Unfit::Corrupt)),
            ("far behind", false, &[], true, false, None, true, Part::Unfit(Unfit::Lagging)),
            ("a leader of before that still answers reads", false, &[], false, true, Some(3), true, Part::Candidate),
        ];
        for (story, is_learner, errors, has_leader, read, voters, store, expected) in cases {
            let member = Observation { is_learner, errors };
            assert_eq!(part(&Standing { member, has_leader, read, voters, store }), expected, "{story}");
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
