//! J0: how etcd will be started, beside what was decided.

use super::{Decision, JoinHow, Look, ManagedBy, RefuseReason, Rule, Verdict};
use crate::core::facts::StartFlags;
use crate::core::peer_url;

/// J0: etcd would be started with flags that contradict the verdict.
pub(super) fn start_flags_disagree(look: &Look<'_>, verdict: &Verdict) -> Option<Verdict> {
    let starts = matches!(
        verdict.decision,
        Decision::Start | Decision::Apply { .. } | Decision::Resume { .. } | Decision::Join { .. }
    );
    if !starts || matches!(verdict.rule, Rule::B0 | Rule::D0) {
        return None;
    }
    let flags = look.facts.start.known()?;
    let trimmed = |path: &str| path.trim_end_matches('/').to_owned();
    let differs =
        |theirs: &Option<String>, ours: &str| theirs.as_deref().is_some_and(|theirs| trimmed(theirs) != trimmed(ours));
    let (what, edit) = if flags.force_new_cluster {
        ("--force-new-cluster is set".to_owned(), "remove --force-new-cluster".to_owned())
    } else if differs(&flags.data_dir, &look.policy.data_dir) {
        let theirs = flags.data_dir.clone().unwrap_or_default();
        (
            format!("--data-dir is {theirs}, and etcd.data_dir is {}", look.policy.data_dir),
            "make --data-dir and etcd.data_dir the same directory".to_owned(),
        )
    } else if differs(&flags.wal_dir, look.policy.wal_dir.as_deref().unwrap_or_default()) {
        let theirs = flags.wal_dir.clone().unwrap_or_default();
        (
            format!(
                "--wal-dir is {theirs:?}, and etcd.wal_dir is {:?}",
                look.policy.wal_dir.as_deref().unwrap_or_default()
            ),
            "make --wal-dir and etcd.wal_dir the same directory".to_owned(),
        )
    } else {
        join_flags_disagree(look, verdict, flags)?
    };
    Some(
        Verdict::refuse(
            Rule::J0,
            RefuseReason::StartFlagsDisagree,
            format!(
                "rule {} allows etcd to start, but its flags in {} contradict that: {what}",
                verdict.rule, flags.read_from
            ),
        )
        .hint(format!("{edit} (in {})", flags.read_from)),
    )
}

/// A member that is added has no WAL when it starts: then etcd goes by the initial cluster that it is given.
fn join_flags_disagree(look: &Look<'_>, verdict: &Verdict, flags: &StartFlags) -> Option<(String, String)> {
    let replaces = Decision::Join { how: JoinHow::ReplaceMember };
    if verdict.decision != replaces || look.policy.managed_by.resets_one_node() {
        return None;
    }
    let list = super::cluster::initial_cluster(look)?;
    let urls = |list: &str| {
        let mut urls: Vec<String> =
            list.split(',').filter_map(|one| Some(peer_url::canonical(one.split_once('=')?.1))).collect();
        urls.sort();
        urls
    };
    let existing = "existing";
    match (&flags.initial_cluster, &flags.initial_cluster_state) {
        (Some(theirs), _) if urls(theirs) != urls(&list) => Some((
            format!("this host has to join, and --initial-cluster is {theirs}"),
            format!("make it --initial-cluster={list} and --initial-cluster-state={existing}"),
        )),
        (_, Some(state)) if state != existing => Some((
            format!("this host has to join, and --initial-cluster-state is {state}"),
            format!("make it --initial-cluster-state={existing}"),
        )),
        // Nothing reads our environment file there: the manifest has to say it.
        (None, _) if look.policy.managed_by == ManagedBy::Kubeadm => Some((
            "this host has to join, and --initial-cluster is not set".to_owned(),
            format!("add --initial-cluster={list} and --initial-cluster-state={existing}"),
        )),
        _ => None,
    }
}
