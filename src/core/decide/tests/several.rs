//! Stories of several hosts in which an older life could serve beside a newer one, or a healthy host could be kept down for nothing.

use super::*;

fn names(names: &[&str]) -> Vec<Voter> {
    names.iter().map(|n| voter(n)).collect()
}

fn life(generation: u64, cause: PlanCause, may_live: &[&str]) -> Life {
    let recorded = Configuration { recorded_in: format!("plan {generation}"), voters: names(may_live) };
    Life {
        generation: Generation(generation),
        cluster_id: ClusterId(0xc0 + generation),
        cause,
        cancelled: false,
        request: None,
        may_live: Some(recorded).filter(|_| !may_live.is_empty()).into_iter().collect(),
    }
}

fn planned(generation: u64, cause: PlanCause, restores: Option<&str>, of: &[&str]) -> PlanFacts {
    let mut facts = plan(generation, cause, restores);
    facts.plan.voters = names(of);
    facts
}

fn stands(name: &str) -> RollEntry {
    waits(name, 30)
}

fn members(names: &[&str]) -> Vec<LocalVoter> {
    let one = |(i, n): (usize, &&str)| LocalVoter {
        id: MemberId(i as u64 + 1),
        name: (*n).to_owned(),
        peer_urls: voter(n).peer_urls,
        is_learner: false,
    };
    names.iter().enumerate().map(one).collect()
}

/// Data of a life, of these members; this host is the first.
fn data(generation: u64, of: &[&str]) -> Observed<DataDir> {
    Observed::Known(DataDir::Healthy(LocalMember {
        cluster_id: ClusterId(0xc0 + generation),
        member_id: MemberId(1),
        members: members(of),
        revision: Some(5),
    }))
}

fn answers(generation: u64, quorate: bool, of: &[&str]) -> LiveCluster {
    LiveCluster {
        cluster_id: ClusterId(0xc0 + generation),
        quorate,
        members: if quorate { members(of) } else { vec![] },
        answering: vec![MemberId(2), MemberId(3)],
    }
}

fn silent(name: &str, code: CauseCode) -> SilentEndpoint {
    let cause = Cause { code, text: format!("{name} says {code:?}"), hint: None };
    SilentEndpoint { url: voter(name).peer_urls.concat(), cause }
}

fn three(p: &mut Policy) {
    p.members = names(&["cp1", "cp2", "cp3"]);
    p.peer_wait_seconds = 0;
}

fn store(f: &mut Facts) -> &mut StoreFacts {
    match &mut f.store {
        Observed::Known(store) => store,
        Observed::Unknown(_) => unreachable!("the store of a blank host is known"),
    }
}

/// A forced plan of the three that only few have followed; the older life's voters are these now.
fn half_followed(f: &mut Facts, p: &mut Policy, older_voters: &[&str]) {
    three(p);
    f.data_dir = data(1, &["cp1", "cp2", "cp3"]);
    let s = store(f);
    s.lives = vec![life(1, PlanCause::Init, older_voters), life(2, PlanCause::Forced, &[])];
    s.plan = Some(planned(2, PlanCause::Forced, Some("a"), &["cp1", "cp2", "cp3"]));
    s.snapshots = vec![snapshot("a", 1, 5)];
}

/// Two of three have lost their disks, and the third answers without quorum as a member of this life.
fn survivor(f: &mut Facts, p: &mut Policy, of: u64) {
    three(p);
    f.live.clusters = vec![answers(of, false, &[])];
    store(f).roll_call = vec![stands("cp2")];
    store(f).snapshots = vec![snapshot("a", 1, 5)];
}

/// Hosts that come and go: all of the old ones are gone, new ones stand there.
fn all_new(f: &mut Facts, p: &mut Policy, code: CauseCode) {
    p.members = vec![voter("cp1")];
    (p.expected_members, p.peer_wait_seconds) = (Some(2), 0);
    let s = store(f);
    s.lives = vec![life(1, PlanCause::Init, &[])];
    s.plan = Some(PlanFacts { age_seconds: Some(9_999), ..planned(1, PlanCause::Init, None, &["old1", "old2"]) });
    s.snapshots = vec![snapshot("a", 1, 5)];
    s.roll_call = vec![stands("cp2")];
    f.live.silent = vec![silent("old1", CauseCode::NoAnswer), silent("old2", code)];
}

const STORIES: &[(&str, Change, Rule, &str, &str)] = &[
    (
        "a forced plan whose members are those of the older life",
        |f, p| half_followed(f, p, &["cp1", "cp2", "cp3"]),
        Rule::F1,
        "Apply",
        "",
    ),
    (
        "two members were added to the older life before this host followed the plan",
        |f, p| half_followed(f, p, &["cp1", "cp2", "cp3", "cp4", "cp5"]),
        Rule::D7,
        "Start",
        "cp4, cp5) could find a majority beside it",
    ),
    (
        "the same, seen at its members before anybody recorded it",
        |f, p| {
            half_followed(f, p, &["cp1", "cp2", "cp3"]);
            f.live.clusters = vec![answers(1, true, &["cp1", "cp2", "cp3", "cp4", "cp5"])];
        },
        Rule::D7,
        "Start",
        "the live cluster",
    ),
    (
        "the newest plan was taken back: the life before it has a survivor",
        |f, p| {
            survivor(f, p, 1);
            let s = store(f);
            s.lives = vec![life(1, PlanCause::Init, &["cp1", "cp2", "cp3"]), life(2, PlanCause::Forced, &[])];
            s.lives[1].cancelled = true;
            s.plan =
                Some(PlanFacts { cancelled: true, ..planned(2, PlanCause::Forced, Some("a"), &["cp1", "cp2", "cp3"]) });
        },
        Rule::L2,
        "QuorumLost",
        "have no quorum",
    ),
    (
        "a survivor of a cluster that no plan names, and that the snapshots are from",
        |f, p| survivor(f, p, 1),
        Rule::L2,
        "QuorumLost",
        "have no quorum",
    ),
    ("a stranger without quorum holds nobody up", |f, p| survivor(f, p, 77), Rule::S2, "\"a\"", ""),
    (
        "its clients' port does not let this host in: nothing is known of the quorum",
        |f, p| {
            survivor(f, p, 1);
            f.live.silent = vec![silent("cp3", CauseCode::Denied)];
        },
        Rule::L2,
        "QuorumLost",
        "could not be asked: cp3 says Denied",
    ),
    (
        "this host was counted as empty, and its disk came late",
        |f, p| {
            three(p);
            f.data_dir = data(1, &["cp1", "cp2", "cp3"]);
            f.memory = Observed::Known(Memory { stopped: true, ..Memory::default() });
            let s = store(f);
            s.lives = vec![life(1, PlanCause::Init, &[]), life(2, PlanCause::Restore, &[])];
            s.plan = Some(planned(2, PlanCause::Restore, Some("a"), &["cp1", "cp2", "cp3"]));
        },
        Rule::D6,
        "SplitLives",
        "stood in the roll call without data",
    ),
    (
        "the same, and it never stood there: what others did does not concern it",
        |f, p| {
            three(p);
            f.data_dir = data(1, &["cp1", "cp2", "cp3"]);
            let s = store(f);
            s.lives = vec![life(1, PlanCause::Init, &[]), life(2, PlanCause::Restore, &[])];
            s.plan = Some(planned(2, PlanCause::Restore, Some("a"), &["cp1", "cp2", "cp3"]));
        },
        Rule::D7,
        "Start",
        "",
    ),
    (
        "a joining host lost power when etcd had only begun to make its data",
        |f, p| {
            three(p);
            f.data_dir = Observed::Known(DataDir::Damaged { what: "a db without a WAL".into(), member_present: true });
            f.joined_without_log = true;
            f.live.clusters = vec![answers(1, true, &["cp2", "cp3"])];
        },
        Rule::D2,
        "Quarantine",
        "had only begun",
    ),
    (
        "the same, and no cluster answers",
        |f, p| {
            three(p);
            f.data_dir = Observed::Known(DataDir::Damaged { what: "a db without a WAL".into(), member_present: true });
            f.joined_without_log = true;
        },
        Rule::D2,
        "Refuse",
        "",
    ),
    (
        "hosts that come and go, and nobody is there any more",
        |f, p| all_new(f, p, CauseCode::NoAnswer),
        Rule::S2,
        "\"a\"",
        "rests on a clock",
    ),
    (
        "the same, and one refuses us: it is there",
        |f, p| all_new(f, p, CauseCode::Denied),
        Rule::C1,
        "VotersGone",
        "old1, old2",
    ),
    ("the same, and one answers with nonsense", |f, p| all_new(f, p, CauseCode::Failed), Rule::C1, "VotersGone", ""),
    (
        "the same, and the life behind a forced plan was not asked",
        |f, p| {
            all_new(f, p, CauseCode::NoAnswer);
            let s = store(f);
            s.lives = vec![life(1, PlanCause::Init, &["older1", "older2"]), life(2, PlanCause::Forced, &[])];
            s.plan =
                Some(PlanFacts { age_seconds: Some(9_999), ..planned(2, PlanCause::Forced, None, &["old1", "old2"]) });
        },
        Rule::C1,
        "VotersGone",
        "old1, old2",
    ),
    (
        "the same, the plan is old and the heartbeat is not",
        |f, p| {
            all_new(f, p, CauseCode::NoAnswer);
            store(f).heartbeat = Some(HeartbeatFact { generation: Generation(1), age_seconds: 300 });
        },
        Rule::C1,
        "VotersGone",
        "300 s ago",
    ),
    (
        "the same, the heartbeat is old and the plan is not",
        |f, p| {
            all_new(f, p, CauseCode::NoAnswer);
            let s = store(f);
            s.heartbeat = Some(HeartbeatFact { generation: Generation(1), age_seconds: 5_000 });
            s.plan.as_mut().unwrap().age_seconds = Some(20);
        },
        Rule::C1,
        "VotersGone",
        "20 s ago",
    ),
    (
        "more hosts than expected, and this one is the youngest",
        |f, p| {
            all_new(f, p, CauseCode::NoAnswer);
            store(f).roll_call.push(stands("cp3"));
        },
        Rule::C1,
        "Peers",
        "as many wait for longer than this one: cp2, cp3",
    ),
    (
        "hosts that come and go, with data and a request: the voters of the cluster are rolled back",
        |f, p| {
            all_new(f, p, CauseCode::NoAnswer);
            let s = store(f);
            s.roll_call.clear();
            s.plan.as_mut().unwrap().plan.voters = names(&["cp1", "cp8", "cp9"]);
            f.data_dir = data(1, &["cp1", "cp8", "cp9"]);
            request(f, "a");
        },
        Rule::F2,
        "Forced",
        "",
    ),
    (
        "hosts that come and go, without data and with a request: not with those that came first",
        |f, p| {
            all_new(f, p, CauseCode::NoAnswer);
            store(f).roll_call.clear();
            request(f, "a");
        },
        Rule::F2,
        "Peers",
        "forms a cluster of 2 hosts",
    ),
    (
        "a stranger answers where another member should: the healthy member starts",
        |f, p| {
            three(p);
            f.data_dir = data(1, &["cp1", "cp2", "cp3"]);
            f.live.clusters = vec![answers(77, true, &["somebody"])];
            let s = store(f);
            s.lives = vec![life(1, PlanCause::Init, &[])];
            s.plan = Some(planned(1, PlanCause::Init, None, &["cp1", "cp2", "cp3"]));
        },
        Rule::D7,
        "Start",
        "has nothing to do with this one",
    ),
    (
        "members of ours serve as another cluster that stands in no plan",
        |f, p| {
            three(p);
            f.data_dir = data(1, &["cp1", "cp2", "cp3"]);
            f.live.clusters = vec![LiveCluster { answering: vec![MemberId(1)], ..answers(77, true, &["cp2", "cp9"]) }];
        },
        Rule::D6,
        "SplitLives",
        "cp1 (http://cp1:2380), cp3 (",
    ),
];

#[test]
fn stories_of_several_hosts() {
    for (story, change, rule, word, says) in STORIES {
        let (mut facts, mut policy) = (blank(), policy());
        change(&mut facts, &mut policy);
        let verdict = decide(&facts, &policy);
        let decision = format!("{:?}", verdict.decision);
        let said = format!("{} {}", verdict.because, verdict.notes.join(" "));
        assert_eq!(verdict.rule, *rule, "{story}: {verdict:#?}");
        assert!(decision.contains(word), "{story}: {decision} lacks {word:?}");
        assert!(said.contains(says), "{story}: {said} lacks {says:?}");
        let stuck = matches!(verdict.decision, Decision::Refuse { .. } | Decision::Wait { .. });
        assert!(!stuck || verdict.hint.is_some(), "{story}: says nothing about what to type next");
    }
}

/// Who is asked for a restore rolls back the cluster that it is part of.
#[test]
fn a_request_among_hosts_that_come_and_go_is_for_all_voters() {
    let (mut facts, mut policy) = (blank(), policy());
    all_new(&mut facts, &mut policy, CauseCode::NoAnswer);
    store(&mut facts).plan.as_mut().unwrap().plan.voters = names(&["cp1", "cp8", "cp9"]);
    facts.data_dir = data(1, &["cp1", "cp8", "cp9"]);
    assert_eq!(members_of_now(&facts, &policy), names(&["cp2", "cp1"]), "without a request those of the roll call");
    request(&mut facts, "a");
    assert_eq!(members_of_now(&facts, &policy), names(&["cp1", "cp8", "cp9"]));
}

/// What a forced plan has ended: nothing, until its own life has served.
#[test]
fn lives_are_ended_by_one_that_has_served() {
    let beat = |generation| Some(HeartbeatFact { generation: Generation(generation), age_seconds: 5 });
    let mut unhealthy = snapshot("emergency", 2, 7);
    unhealthy.manifest.as_mut().unwrap().quorum = false;
    for (snapshots, heartbeat, counts) in [
        (vec![], None, 2),
        (vec![snapshot("before", 1, 5)], beat(1), 2),
        (vec![unhealthy], None, 2),
        (vec![snapshot("after", 2, 7)], None, 1),
        (vec![], beat(2), 1),
        (vec![], beat(3), 0),
    ] {
        let lives =
            vec![life(1, PlanCause::Init, &["a"]), life(2, PlanCause::Forced, &["b"]), life(3, PlanCause::Forced, &[])];
        let facts = StoreFacts { lives, snapshots, heartbeat, ..StoreFacts::default() }.without_ended_lives();
        let left = facts.lives.iter().filter(|l| !l.may_live.is_empty()).count();
        assert_eq!(left, counts, "{:?} {:?}", facts.snapshots, facts.heartbeat);
    }
}
