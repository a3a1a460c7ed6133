//! Stories of a host that has data, or of which it is not known whether it has, and of how etcd is started there.

use super::*;

pub(super) const STORIES: &[Story] = &[
    ("data dir unreadable", |f, _| f.data_dir = Observed::unknown(CauseCode::LocalIo, "EIO"), Rule::D1, "Wait"),
    (
        "staging unreadable on an empty host",
        |f, _| f.staging = Observed::unknown(CauseCode::LocalIo, "EIO"),
        Rule::D1,
        "Wait",
    ),
    (
        "mount missing",
        |f, _| f.data_dir = Observed::unknown(CauseCode::MountMissing, "it was a mount point"),
        Rule::D1,
        "Wait",
    ),
    (
        "an etcd runs, whatever the store says",
        |f, _| {
            f.data_dir = Observed::Known(DataDir::InUse);
            down(f);
        },
        Rule::D0,
        "Start",
    ),
    (
        "healthy data and the store down: starts at once",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            down(f);
        },
        Rule::D7,
        "Start",
    ),
    (
        "healthy data and snapshots: starts",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 999)]);
        },
        Rule::D7,
        "Start",
    ),
    (
        "healthy data, memory unreadable: starts",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            f.memory = Observed::unknown(CauseCode::LocalIo, "EIO");
        },
        Rule::D7,
        "Start",
    ),
    (
        "copied data dir: in no plan",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            with_store(f, |s| s.plan = Some(plan(1, PlanCause::Init, None)));
        },
        Rule::D2,
        "Foreign",
    ),
    (
        "copied data dir: other peer URLs",
        |f, p| {
            f.data_dir = Observed::Known(healthy(7));
            p.members = vec![Voter { name: node("cp1"), peer_urls: vec!["http://other:2380".into()] }];
        },
        Rule::D2,
        "Foreign",
    ),
    (
        "its own data dir: the same peer URLs, typed otherwise",
        |f, p| {
            let DataDir::Healthy(mut member) = healthy(7) else { return };
            member.members[0].peer_urls = vec!["http://[2001:DB8:0::1]:2380".into(), "HTTP://CP1:2380/".into()];
            f.data_dir = Observed::Known(DataDir::Healthy(member));
            let urls = vec!["http://cp1:2380".into(), "http://[2001:db8::1]:2380".into()];
            p.members = vec![Voter { name: node("cp1"), peer_urls: urls }];
        },
        Rule::D7,
        "Start",
    ),
    (
        "damaged data is never replaced without a word",
        |f, _| {
            f.data_dir = Observed::Known(DataDir::Damaged { what: "a db without a WAL".into(), member_present: true });
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5)]);
        },
        Rule::D2,
        "Damaged",
    ),
    (
        "removed from its own cluster",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            serves(
                f,
                7,
                vec![LocalVoter { id: MemberId(2), name: "cp2".into(), peer_urls: vec![], is_learner: false }],
            );
        },
        Rule::D4,
        "Quarantine",
    ),
    (
        "the member list of its own cluster could not be read: not removed",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            serves(f, 7, vec![]);
        },
        Rule::D7,
        "Start",
    ),
    (
        "kubeadm before init",
        |f, p| {
            p.managed_by = ManagedBy::Kubeadm;
            f.start = Observed::Known(StartFlags { manifest_present: Some(false), ..StartFlags::default() });
        },
        Rule::B0,
        "Start",
    ),
    (
        "etcd would start on another data dir",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            f.start = Observed::Known(StartFlags {
                data_dir: Some("/srv/etcd".into()),
                read_from: "/etc/default/etcd".into(),
                ..StartFlags::default()
            });
        },
        Rule::J0,
        "StartFlagsDisagree",
    ),
];
