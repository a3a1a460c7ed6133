//! Stories of what a person asked for: pins, one-shot requests, and the plans that were forced by them.

use super::*;

pub(super) const STORIES: &[Story] = &[
    (
        "pinned",
        |f, p| {
            p.pinned = Some(SnapshotName::new("a").unwrap());
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)]);
        },
        Rule::S1,
        "\"a\"",
    ),
    (
        "pinned and missing: never another one",
        |f, p| {
            p.pinned = Some(SnapshotName::new("c").unwrap());
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5)]);
        },
        Rule::S1,
        "PinnedMissing",
    ),
    (
        "pinned and broken: never another one",
        |f, p| {
            p.pinned = Some(SnapshotName::new("a").unwrap());
            f.attempts.excluded = vec![Excluded { name: SnapshotName::new("a").unwrap(), why: "digest".into() }];
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)]);
        },
        Rule::S1,
        "PinnedIneligible",
    ),
    (
        "pin that was consumed is ignored",
        |f, p| {
            p.pinned = Some(SnapshotName::new("a").unwrap());
            with_store(f, |s| {
                s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 1, 6)];
                let mut newest = plan(1, PlanCause::Restore, Some("a"));
                newest.plan.request = Some("pin:a".into());
                newest.marks = vec![mark(1, 1)];
                s.plan = Some(newest);
            });
        },
        Rule::S2,
        "\"b\"",
    ),
    (
        "pin whose plan was burnt before anything was in place: the pin again",
        |f, p| {
            p.pinned = Some(SnapshotName::new("a").unwrap());
            remembers(f, 1, &[1]);
            with_store(f, |s| {
                s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)];
                let mut newest = plan(1, PlanCause::Restore, Some("a"));
                newest.plan.request = Some("pin:a".into());
                newest.marks = vec![mark(1, 1)];
                s.plan = Some(newest);
            });
        },
        Rule::S1,
        "\"a\"",
    ),
    (
        "pin whose plans were burnt twice: the pin again",
        |f, p| {
            p.pinned = Some(SnapshotName::new("a").unwrap());
            remembers(f, 2, &[2]);
            with_store(f, |s| {
                s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)];
                let mut newest = plan(2, PlanCause::Restore, Some("a"));
                newest.plan.request = Some("pin:a".into());
                newest.marks = vec![mark(2, 1)];
                s.plan = Some(newest);
            });
            older_life(f, Some("pin:a"));
        },
        Rule::S1,
        "\"a\"",
    ),
    (
        "pin, and a plan of something else since: consumed",
        |f, p| {
            p.pinned = Some(SnapshotName::new("a").unwrap());
            remembers(f, 2, &[2]);
            with_store(f, |s| {
                s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)];
                s.plan = Some(PlanFacts { marks: vec![mark(2, 1)], ..plan(2, PlanCause::Restore, Some("b")) });
            });
            older_life(f, Some("pin:a"));
        },
        Rule::S2,
        "\"b\"",
    ),
    (
        "request, store down: waits even with data",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            request(f, "latest");
            down(f);
        },
        Rule::F0,
        "Wait",
    ),
    (
        "request file unreadable",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            f.request = Observed::unknown(CauseCode::LocalIo, "EIO");
        },
        Rule::F0,
        "Wait",
    ),
    (
        "request with healthy data",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            request(f, "a");
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)]);
        },
        Rule::F2,
        "Forced",
    ),
    (
        "request for what is no name: nothing else is taken for it",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            request(f, "no such/name");
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5)]);
        },
        Rule::F2,
        "cause: Forced, snapshot: None",
    ),
    (
        "request for the latest, and nothing is eligible",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            request(f, "latest");
        },
        Rule::F2,
        "cause: Forced, snapshot: None",
    ),
    (
        "forced plan that failed, over data older than all plans: that data starts",
        |f, _| {
            f.data_dir = Observed::Known(healthy(0xc0));
            request(f, "a");
            f.attempts.request_failed = Some("digest".into());
            with_store(f, |s| {
                let mut newest = plan(1, PlanCause::Forced, Some("a"));
                newest.plan.request = Some("r1".into());
                s.plan = Some(newest);
                s.snapshots = vec![snapshot("a", 0, 5)];
            });
        },
        Rule::D7,
        "Start",
    ),
    (
        "request consumed by a plan: starts",
        |f, _| {
            f.data_dir = Observed::Known(healthy(0xc1));
            request(f, "a");
            with_store(f, |s| {
                let mut newest = plan(1, PlanCause::Forced, Some("a"));
                newest.plan.request = Some("r1".into());
                newest.marks = vec![mark(1, 1)];
                s.plan = Some(newest);
                s.snapshots = vec![snapshot("a", 0, 5)];
            });
        },
        Rule::D7,
        "Start",
    ),
    (
        "a request that stays on the kernel command line is done once: the store is not waited for again",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            kernel_asks(f, "latest");
            done(f, "k1");
            down(f);
        },
        Rule::D7,
        "Start",
    ),
    (
        "a request that was done does not hide another one",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            kernel_asks(f, "a");
            done(f, "k1");
            f.also_requested = vec![asked("c1", "b", RequestSource::Credential)];
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)]);
        },
        Rule::F2,
        "\"c1\"",
    ),
    (
        "several requests: the first that is not done",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            request(f, "a");
            f.also_requested = vec![asked("k1", "b", RequestSource::KernelCommandLine)];
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 0, 6)]);
        },
        Rule::F2,
        "\"r1\"",
    ),
    (
        "request whose snapshot could not be fetched: data starts",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            request(f, "a");
            f.attempts.request_failed = Some("digest".into());
            with_store(f, |s| s.snapshots = vec![snapshot("a", 0, 5)]);
        },
        Rule::D7,
        "Start",
    ),
    (
        "forced plan, older data here",
        |f, _| {
            f.data_dir = Observed::Known(healthy(7));
            with_store(f, |s| {
                s.plan = Some(plan(1, PlanCause::Forced, Some("a")));
                s.snapshots = vec![snapshot("a", 0, 5)];
            });
        },
        Rule::F1,
        "Apply",
    ),
    (
        "forced plan, followed and lost again: the best of all",
        |f, _| {
            remembers(f, 1, &[1]);
            with_store(f, |s| {
                s.plan = Some(PlanFacts { marks: vec![mark(1, 1)], ..plan(1, PlanCause::Forced, Some("a")) });
                s.snapshots = vec![snapshot("a", 0, 5), snapshot("b", 1, 6)];
            });
        },
        Rule::S2,
        "\"b\"",
    ),
];
