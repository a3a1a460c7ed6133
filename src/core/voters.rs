//! What to write down about the voters of a living cluster: changes that people make, and changes of ours that took effect.
//!
//! It exists so that the record of a life names every configuration that may be in force. A roll call needs a majority of each configuration since
//! the last confirmed one, so writing one down only ever asks for more, and confirming one is what lets older ones go: that needs to have been seen.

use super::facts::LocalVoter;
use super::model::{MemberId, NodeName};
use super::peer_url;
use super::plan::{Voter, VotersRecord};

/// A record that should be written next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Its number in its life.
    pub number: u64,
    /// The voters.
    pub voters: Vec<Voter>,
    /// Whether they were seen in force.
    pub confirmed: bool,
}

fn sorted(voters: &[Voter]) -> Vec<Voter> {
    let mut all = voters.to_vec();
    for voter in &mut all {
        voter.peer_urls = voter.peer_urls.iter().map(|u| peer_url::canonical(u)).collect();
        voter.peer_urls.sort();
    }
    all.sort();
    all
}

/// Whether both name the same voters with the same URLs, in whatever order.
pub fn same(a: &[Voter], b: &[Voter]) -> bool {
    sorted(a) == sorted(b)
}

/// What is to be recorded of `live`, the voters as a linearizable list shows them; `planned` are those of the plan.
///
/// Nothing, while a recorded change has not taken effect: it still may. A configuration that no record since the last confirmed one names is
/// written down unconfirmed at once, and confirmed when it is seen again after that was durable.
pub fn to_record(planned: &[Voter], records: &[VotersRecord], live: &[Voter]) -> Option<Note> {
    let number = next_number(records);
    let (newest, confirmed) = records.last().map_or((planned, true), |r| (r.voters.as_slice(), r.confirmed));
    if same(newest, live) {
        return (!confirmed).then(|| Note { number, voters: live.to_vec(), confirmed: true });
    }
    let last_confirmed = records.iter().rposition(|r| r.confirmed);
    let covered = records.iter().skip(last_confirmed.unwrap_or(0)).any(|r| same(&r.voters, live))
        || (last_confirmed.is_none() && same(planned, live));
    (!covered).then(|| Note { number, voters: live.to_vec(), confirmed: false })
}

fn next_number(records: &[VotersRecord]) -> u64 {
    records.last().map_or(0, |r| r.number).saturating_add(1)
}

/// A member as plans know it: the slot is that of a configured host where it has one of that host's peer URLs, else its own name, else its id.
///
/// The host comes first because its slot is what the gate counts: etcd started without `--name` calls itself `default`.
pub fn slot(id: MemberId, name: &str, peer_urls: &[String], configured: &[Voter]) -> Option<Voter> {
    let host = configured.iter().find(|v| peer_url::share_one(&v.peer_urls, peer_urls));
    let name = match host {
        Some(host) => host.name.clone(),
        None => NodeName::new(name).or_else(|_| NodeName::new(&format!("member-{id}"))).ok()?,
    };
    Some(Voter { name, peer_urls: peer_urls.to_vec() })
}

/// The voting members of a list as plans know them. `None` when the list is empty: no cluster is without voters, so it could not be read.
pub fn of_members(members: &[LocalVoter], configured: &[Voter]) -> Option<Vec<Voter>> {
    let voters = members.iter().filter(|m| !m.is_learner);
    let mut voters: Vec<Voter> =
        voters.map(|m| slot(m.id, &m.name, &m.peer_urls, configured)).collect::<Option<_>>()?;
    voters.sort();
    (!voters.is_empty()).then_some(voters)
}

/// Whether a learner is one that a gate added for a host of ours: it has started, and its name and URLs are those of a configured host, or its
/// slot holds a started mark. A learner that a person keeps for purposes of his own is left alone.
pub fn joined_by_gate(learner: &LocalVoter, configured: &[Voter], marked: &[NodeName]) -> Option<Voter> {
    // Without a name it has never started.
    if !learner.is_learner || learner.name.is_empty() {
        return None;
    }
    let ours = slot(learner.id, &learner.name, &learner.peer_urls, configured)?;
    let known =
        configured.iter().any(|v| v.name == ours.name && same(std::slice::from_ref(v), std::slice::from_ref(&ours)));
    (known || marked.contains(&ours.name)).then_some(ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::tests::{voters, voters_records};

    #[test]
    fn changes_are_recorded_once_and_confirmed_when_seen_again() {
        type Records<'a> = &'a [(&'a str, bool)];
        let cases: [(&str, Records<'_>, &str, Option<(u64, bool)>); 12] = [
            ("nothing changed", &[], "a b c", None),
            ("another order", &[], "c a b", None),
            ("a person removed one", &[], "a b", Some((1, false))),
            ("and it is still so", &[("a b", false)], "a b", Some((2, true))),
            ("and nothing since", &[("a b", false), ("a b", true)], "b a", None),
            ("a change of ours has not happened yet", &[("a b c d", false)], "a b c", None),
            ("it has", &[("a b c d", false)], "a b c d", Some((2, true))),
            ("another one happened instead", &[("a b c d", false)], "a b c e", Some((2, false))),
            ("the one before the last is in force", &[("a b", false), ("a b d", false)], "a b", None),
            ("back to what was, after a confirmation", &[("a b", false), ("a b", true)], "a b c", Some((3, false))),
            (
                "confirmed ones before the last do not cover",
                &[("a b", true), ("a b d", true), ("a b d e", false)],
                "a b",
                Some((4, false)),
            ),
            ("the last confirmed one does", &[("a b", true), ("a b d", true), ("a b d e", false)], "a b d", None),
        ];
        for (story, recorded, live, expected) in cases {
            let got = to_record(&voters("a b c"), &voters_records(recorded), &voters(live));
            assert_eq!(got.as_ref().map(|n| (n.number, n.confirmed)), expected, "{story}");
            if let Some(note) = got {
                assert_eq!(note.voters, voters(live), "{story}");
            }
        }
    }

    #[test]
    fn a_change_of_urls_is_a_change() {
        let mut moved = voters("a b c");
        moved[1].peer_urls = vec!["http://elsewhere:2380".into()];
        assert_eq!(to_record(&voters("a b c"), &[], &moved).map(|n| n.confirmed), Some(false));
    }

    fn member(id: u64, name: &str, url: &str, is_learner: bool) -> LocalVoter {
        LocalVoter { id: MemberId(id), name: name.into(), peer_urls: vec![url.into()], is_learner }
    }

    #[test]
    fn members_are_known_by_their_hosts() {
        let configured = voters("a b");
        let list = [
            member(1, "default", "http://a:2380", false),
            member(2, "c", "http://c:2380", false),
            member(3, "", "http://d:2380", false),
            member(4, "b", "http://b:2380", true),
        ];
        let names: Vec<String> = of_members(&list, &configured).unwrap().iter().map(|v| v.name.to_string()).collect();
        assert_eq!(names, ["a", "c", &format!("member-{}", MemberId(3))]);
        assert_eq!(of_members(&[], &configured), None);
        assert_eq!(of_members(&list[3..], &configured), None, "learners alone are no cluster");
    }

    #[test]
    fn only_learners_of_ours_are_promoted() {
        let configured = voters("a b");
        let marked = [NodeName::new("z").unwrap()];
        for (learner, expected) in [
            (member(1, "b", "http://b:2380", true), Some("b")),
            (member(1, "default", "http://b:2380", true), Some("b")),
            (member(1, "", "http://b:2380", true), None),
            (member(1, "b", "http://b:2380", false), None),
            (member(1, "b", "http://other:2380", true), None),
            (member(1, "z", "http://z:2380", true), Some("z")),
            (member(1, "mirror", "http://mirror:2380", true), None),
        ] {
            let got = joined_by_gate(&learner, &configured, &marked).map(|v| v.name.to_string());
            assert_eq!(got.as_deref(), expected, "{learner:?}");
        }
    }
}
